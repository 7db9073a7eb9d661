# What must be there before `prefect deploy --all` and `sales blocks register`. Deployments and their schedules are
# prefect.yaml's, the pipeline's blocks the register command's, automations about data monitoring/automations.yml's.
locals {
  name = "sales-${var.environment}"
}

resource "prefect_work_pool" "sales" {
  name              = local.name
  type              = var.pool_type
  concurrency_limit = var.concurrency_limit
}

# Results of tasks. The block holds no keys: the worker's own role, or its AWS_* variables, sign in.
resource "prefect_block" "aws" {
  count     = var.artifacts_bucket == null ? 0 : 1
  name      = "sales-results-aws"
  type_slug = "aws-credentials"
  data      = jsonencode({ region_name = var.aws_region })
}

resource "prefect_block" "results" {
  count     = var.artifacts_bucket == null ? 0 : 1
  name      = "sales-results"
  type_slug = "s3-bucket"
  data = jsonencode({
    bucket_name   = var.artifacts_bucket
    bucket_folder = "results"
    credentials   = { "$ref" = prefect_block.aws[0].id }
  })
}

resource "prefect_variable" "environment" {
  name  = "sales_environment"
  value = var.environment
  tags  = ["sales"]
}

# A pool without a worker, or a platform that is down, cannot say so on Slack by a flow of ours.
resource "prefect_automation" "pool_not_ready" {
  count       = length(var.on_call_emails) > 0 ? 1 : 0
  name        = "${local.name}-pool-not-ready"
  description = "The work pool takes no runs: start a worker, or look at Prefect's status page."
  enabled     = true
  trigger = {
    event = {
      posture   = "Reactive"
      match     = jsonencode({ "prefect.resource.id" = "prefect.work-pool.${prefect_work_pool.sales.id}" })
      expect    = ["prefect.work-pool.not-ready"]
      threshold = 1
      within    = 0
    }
  }
  actions = [{
    type    = "send-email-notification"
    emails  = var.on_call_emails
    subject = "${local.name}: the work pool is not ready"
    body    = "No worker takes runs of ${local.name}. Start one, or see Prefect's status page."
  }]
}

# Turns EventBridge's "Object Created" into the event that watch_drop emits, which prefect.yaml's trigger waits for.
resource "prefect_webhook" "arrivals" {
  count       = var.enable_webhook ? 1 : 0
  name        = "${local.name}-arrivals"
  description = "Files in the drop, from S3 by EventBridge."
  enabled     = true
  template = jsonencode({
    event = "sales.file.arrived"
    resource = {
      "prefect.resource.id"   = "sales.drop.{{ body.detail.object.key.split('/')[0] }}"
      "prefect.resource.name" = "{{ body.detail.object.key.split('/')[0] }}"
    }
    payload = {
      feed  = "{{ body.detail.object.key.split('/')[0] }}"
      files = [{ name = "{{ body.detail.object.key }}", size = "{{ body.detail.object.size }}" }]
    }
  })
}
