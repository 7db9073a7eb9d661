# A file in the drop, told at once to Prefect's webhook (modules/prefect); without it watch_drop looks every 15 minutes.
locals {
  enable_events = nonsensitive(var.prefect_webhook_url != null)
}

resource "aws_s3_bucket_notification" "drop" {
  count       = local.enable_events ? 1 : 0
  bucket      = aws_s3_bucket.this["drop"].id
  eventbridge = true
}

resource "aws_cloudwatch_event_rule" "arrived" {
  count = local.enable_events ? 1 : 0
  name  = "${local.name}-file-arrived"
  event_pattern = jsonencode({
    source      = ["aws.s3"]
    detail-type = ["Object Created"]
    detail      = { bucket = { name = [aws_s3_bucket.this["drop"].id] }, object = { key = [{ anything-but = { prefix = "refused/" } }] } }
  })
}

resource "aws_cloudwatch_event_connection" "prefect" {
  count              = local.enable_events ? 1 : 0
  name               = "${local.name}-prefect"
  authorization_type = "API_KEY"
  auth_parameters {
    # A webhook of Prefect Cloud is known by its address; the header only says who calls.
    api_key {
      key   = "X-Sales-Environment"
      value = var.environment
    }
  }
}

resource "aws_cloudwatch_event_api_destination" "prefect" {
  count               = local.enable_events ? 1 : 0
  name                = "${local.name}-prefect"
  invocation_endpoint = var.prefect_webhook_url
  http_method         = "POST"
  connection_arn      = aws_cloudwatch_event_connection.prefect[0].arn
}

resource "aws_cloudwatch_event_target" "prefect" {
  count    = local.enable_events ? 1 : 0
  rule     = aws_cloudwatch_event_rule.arrived[0].name
  arn      = aws_cloudwatch_event_api_destination.prefect[0].arn
  role_arn = aws_iam_role.events[0].arn
}

data "aws_iam_policy_document" "events_trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }
  }
}

resource "aws_iam_role" "events" {
  count              = local.enable_events ? 1 : 0
  name               = "${local.name}-events"
  assume_role_policy = data.aws_iam_policy_document.events_trust.json
}

data "aws_iam_policy_document" "events" {
  count = local.enable_events ? 1 : 0
  statement {
    actions   = ["events:InvokeApiDestination"]
    resources = [aws_cloudwatch_event_api_destination.prefect[0].arn]
  }
}

resource "aws_iam_role_policy" "events" {
  count  = local.enable_events ? 1 : 0
  name   = "what-it-needs"
  role   = aws_iam_role.events[0].id
  policy = data.aws_iam_policy_document.events[0].json
}
