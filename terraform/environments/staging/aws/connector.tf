# The sink's own file, with what differs by environment filled in, as `sales connector apply` would.
locals {
  connector_config = var.connector_plugin_key == null ? {} : merge(
    jsondecode(file("${path.module}/../../../../streaming/connectors/snowflake_sink.json")),
    {
      "tasks.max"                                       = "3"
      "snowflake.url.name"                              = "${var.snowflake_account}.snowflakecomputing.com:443"
      "snowflake.user.name"                             = "SALES_SINK_STAGING"
      "snowflake.role.name"                             = "SALES_SINK_STAGING"
      "snowflake.database.name"                         = "SALES_DW_STAGING"
      "snowflake.private.key"                           = "$${secretsmanager:sales/staging/snowflake-sink:private_key}"
      "errors.deadletterqueue.topic.replication.factor" = "3"
    }
  )
}
