terraform {
  required_version = ">= 1.11"
  required_providers {
    prefect = {
      source  = "prefecthq/prefect"
      version = "~> 3.4"
    }
  }
  backend "s3" {
    key          = "sales/staging/prefect.tfstate"
    encrypt      = true
    use_lockfile = true
  }
}

# PREFECT_API_URL and PREFECT_API_KEY, or PREFECT_CLOUD_ACCOUNT_ID too, say where and who.
provider "prefect" {}

module "prefect" {
  source           = "../../../modules/prefect"
  environment      = "staging"
  pool_type        = var.pool_type
  artifacts_bucket = var.artifacts_bucket
  aws_region       = var.aws_region
  on_call_emails   = var.on_call_emails
  enable_webhook   = var.enable_webhook
}
