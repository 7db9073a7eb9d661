# The sink's own file, with what differs by environment filled in, as `sales connector apply` would.
locals {
  connector_config = var.connector_plugin_key == null ? {} : merge(
    jsondecode(file("${path.module}/../../../../streaming/connectors/snowflake_sink.json")),
    {
      "tasks.max"                                       = "1"
      "snowflake.url.name"                              = "${var.snowflake_account}.snowflakecomputing.com:443"
      "snowflake.user.name"                             = "SALES_SINK_DEV"
      "snowflake.role.name"                             = "SALES_SINK_DEV"
      "snowflake.database.name"                         = "SALES_DW_DEV"
      "snowflake.private.key"                           = "$${secretsmanager:sales/dev/snowflake-sink:private_key}"
      "errors.deadletterqueue.topic.replication.factor" = "3"
    }
  )
}
