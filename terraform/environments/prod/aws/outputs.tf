# Read by `sales blocks register --from-terraform terraform/environments/prod/aws`.
output "aws_region" { value = module.aws.aws_region }
output "drop_url" { value = module.aws.drop_url }
output "raw_url" { value = module.aws.raw_url }
output "processed_url" { value = module.aws.processed_url }
output "kafka_connect_private_key_reference" { value = module.aws.kafka_connect_private_key_reference }
output "kafka_connect_msk_connector_arn" { value = module.aws.kafka_connect_msk_connector_arn }
output "msk_bootstrap_brokers_sasl_iam" { value = module.aws.msk_bootstrap_brokers_sasl_iam }
output "secret_ids" { value = module.aws.secret_ids }
output "databricks_instance_profile_arn" { value = module.aws.databricks_instance_profile_arn }
output "processed_bucket" { value = module.aws.processed_bucket }
output "artifacts_bucket" { value = module.aws.artifacts_bucket }
output "snowflake_role_arn" { value = module.aws.snowflake_role_arn }
output "pipeline_role_arn" { value = module.aws.pipeline_role_arn }
output "sink_addresses" { value = module.aws.sink_addresses }
