terraform {
  required_version = ">= 1.11"
  required_providers {
    snowflake = {
      source  = "snowflakedb/snowflake"
      version = "~> 2.20"
    }
  }
  backend "s3" {
    key          = "sales/dev/snowflake.tfstate"
    encrypt      = true
    use_lockfile = true
  }
}

# Who applies this signs in by SNOWFLAKE_USER and SNOWFLAKE_PRIVATE_KEY. Resource monitors want ACCOUNTADMIN.
provider "snowflake" {
  organization_name = var.organization_name
  account_name      = var.account_name
  role              = "ACCOUNTADMIN"
  authenticator     = "SNOWFLAKE_JWT"
}

module "snowflake" {
  source                   = "../../../modules/snowflake"
  environment              = "dev"
  enable_snowflake_objects = var.enable_snowflake_objects
  suffix                   = "_DEV"
  warehouses               = { WH = { size = "XSMALL", credits = 20 }, BI = { size = "XSMALL", credits = 10 } }
  retention_days           = 1
  pipeline_public_keys     = var.pipeline_public_keys
  sink_public_keys         = var.sink_public_keys
  grafana_public_keys      = var.grafana_public_keys
  allowed_ips              = var.allowed_ips
  processed_bucket         = var.processed_bucket
  storage_role_arn         = var.snowflake_role_arn
  migrated                 = var.migrated
}
