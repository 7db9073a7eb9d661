# Named like the settings that they fill (blocks/settings.py); `sales blocks register --from-terraform` reads them.
output "aws_region" { value = local.region }
output "drop_url" { value = "s3://${aws_s3_bucket.this["drop"].id}" }
output "raw_url" { value = "s3://${aws_s3_bucket.this["raw"].id}" }
output "processed_url" { value = "s3://${aws_s3_bucket.this["processed"].id}" }
output "kafka_connect_private_key_reference" {
  value = "$${secretsmanager:${aws_secretsmanager_secret.this[local.sink_secret].name}:private_key}"
}
output "kafka_connect_msk_connector_arn" { value = one(aws_mskconnect_connector.sink[*].arn) }
output "msk_bootstrap_brokers_sasl_iam" { value = one(aws_msk_cluster.this[*].bootstrap_brokers_sasl_iam) }
output "secret_ids" {
  description = "Where the values lie, never the values."
  value       = { for name in keys(local.pipeline_secrets) : name => aws_secretsmanager_secret.this[name].arn }
}

# For the other roots.
output "databricks_instance_profile_arn" { value = aws_iam_instance_profile.databricks.arn }
output "processed_bucket" { value = aws_s3_bucket.this["processed"].id }
output "artifacts_bucket" { value = aws_s3_bucket.this["artifacts"].id }
output "snowflake_role_arn" { value = aws_iam_role.this["snowflake"].arn }
output "pipeline_role_arn" { value = aws_iam_role.this["pipeline"].arn }
output "sink_addresses" {
  description = "Where the sink comes from, for Snowflake's network policy."
  value       = aws_eip.nat[*].public_ip
}
