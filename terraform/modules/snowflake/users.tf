# Service users: a key pair and no password, from known addresses only. Their private keys never come here.
locals {
  users = var.enable_snowflake_objects ? {
    for name, user in {
      pipeline = { keys = var.pipeline_public_keys, role = "pipeline", warehouse = "WH" }
      sink     = { keys = var.sink_public_keys, role = "sink", warehouse = null }
      grafana  = { keys = var.grafana_public_keys, role = "monitor", warehouse = "BI" }
    } : name => user if user.keys != null
  } : {}
}

resource "snowflake_service_user" "this" {
  for_each          = local.users
  name              = upper("SALES_${each.key}${var.suffix}")
  default_role      = snowflake_account_role.this[each.value.role].name
  default_warehouse = each.value.warehouse == null ? null : snowflake_warehouse.this[each.value.warehouse].name
  network_policy    = snowflake_network_policy.services[0].fully_qualified_name
  # Two keys, so that one can be changed while the other is in use.
  rsa_public_key                 = each.value.keys.current
  rsa_public_key_2               = each.value.keys.next
  default_secondary_roles_option = "NONE"
}

resource "snowflake_grant_account_role" "to_user" {
  for_each  = local.users
  role_name = snowflake_account_role.this[each.value.role].name
  user_name = snowflake_service_user.this[each.key].name
}

resource "snowflake_network_rule" "services" {
  count      = local.enabled
  database   = snowflake_database.dw[0].name
  schema     = snowflake_schema.governance[0].name
  name       = "SERVICES"
  type       = "IPV4"
  mode       = "INGRESS"
  value_list = var.allowed_ips
}

resource "snowflake_network_policy" "services" {
  count                     = local.enabled
  name                      = "SALES_SERVICES${var.suffix}"
  allowed_network_rule_list = [snowflake_network_rule.services[0].fully_qualified_name]
}
