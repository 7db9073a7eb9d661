terraform {
  required_version = ">= 1.11"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
  # bucket and region by -backend-config; the lock is a file beside the state.
  backend "s3" {
    key          = "sales/staging/aws.tfstate"
    encrypt      = true
    use_lockfile = true
  }
}

provider "aws" {
  region              = var.aws_region
  allowed_account_ids = [var.aws_account_id]
  default_tags {
    tags = { Project = "sales", Environment = "staging", Owner = "data-engineering", CostCenter = "sales-analytics", ManagedBy = "terraform" }
  }
}

module "aws" {
  source                   = "../../../modules/aws"
  environment              = "staging"
  deletion_protection      = true
  monthly_budget_usd       = 400
  log_retention_days       = 90
  raw_retention_days       = 365
  processed_retention_days = 60
  interface_endpoints      = ["secretsmanager"]
  enable_msk               = var.enable_msk
  connector_plugin_key     = var.connector_plugin_key
  connector_config         = local.connector_config
  alert_emails             = var.alert_emails
  slack_channel            = var.slack_channel
  prefect_webhook_url      = var.prefect_webhook_url
  pipeline_trust           = var.pipeline_trust
  snowflake_trust          = var.snowflake_trust
  rotation_lambda_arns     = var.rotation_lambda_arns
}
