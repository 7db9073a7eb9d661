terraform {
  required_version = ">= 1.11"
  required_providers {
    databricks = {
      source  = "databricks/databricks"
      version = "~> 1.128"
    }
  }
  backend "s3" {
    key          = "sales/dev/databricks.tfstate"
    encrypt      = true
    use_lockfile = true
  }
}

# Who applies this signs in by DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET.
provider "databricks" {
  host = "https://${var.databricks_host}"
}

provider "databricks" {
  alias      = "account"
  host       = "https://accounts.cloud.databricks.com"
  account_id = var.databricks_account_id
}

module "databricks" {
  source               = "../../../modules/databricks"
  environment          = "dev"
  workspace_host       = var.databricks_host
  instance_profile_arn = var.databricks_instance_profile_arn
  max_workers          = 2
  budget               = var.budget
  providers = {
    databricks         = databricks
    databricks.account = databricks.account
  }
}
