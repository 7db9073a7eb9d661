# Reading Spark's Parquet. What of the bucket is read, the IAM role says: sales_batch/ and nothing else.
resource "snowflake_storage_integration_aws" "processed" {
  count                     = local.enabled
  name                      = "SALES_S3${var.suffix}"
  enabled                   = true
  storage_provider          = "S3"
  storage_allowed_locations = ["s3://${var.processed_bucket}/"]
  storage_blocked_locations = ["s3://${var.processed_bucket}/jobs/"]
  storage_aws_role_arn      = var.storage_role_arn
}

# Migration 003 makes it where it is not there; made here, it needs no credential and has its format.
resource "snowflake_stage_external_s3" "processed" {
  count               = local.enabled
  database            = snowflake_database.dw[0].name
  schema              = snowflake_schema.this["RAW"].name
  name                = "PROCESSED_STAGE"
  url                 = "s3://${var.processed_bucket}/"
  storage_integration = snowflake_storage_integration_aws.processed[0].name
  file_format {
    parquet {}
  }
}
