# The shelves only. Values are put there by hand or by a rotation function, so that no state holds any:
#   aws secretsmanager put-secret-value --secret-id sales/dev/snowflake-private-key --secret-string file://key.p8
locals {
  # Read by `sales blocks register`: named by the settings that they fill.
  pipeline_secrets = {
    snowflake_private_key    = "PEM private key of the pipeline's Snowflake user."
    databricks_client_secret = "Secret of the pipeline's Databricks service principal."
    alerts_webhook_url       = "Slack incoming webhook."
  }
  # Read by the sink alone, by reference: a JSON object with the key private_key.
  sink_secret = "snowflake_sink"
  secrets     = merge(local.pipeline_secrets, { (local.sink_secret) = "Key of the sink's Snowflake user, as JSON {private_key}." })
}

resource "aws_secretsmanager_secret" "this" {
  #checkov:skip=CKV2_AWS_57:Rotation is aws_secretsmanager_secret_rotation.this, for the secrets that have a function.
  for_each                = local.secrets
  name                    = "sales/${var.environment}/${replace(each.key, "_", "-")}"
  description             = each.value
  kms_key_id              = aws_kms_key.platform.arn
  recovery_window_in_days = var.deletion_protection ? 30 : 0
}

resource "aws_secretsmanager_secret_rotation" "this" {
  for_each            = var.rotation_lambda_arns
  secret_id           = aws_secretsmanager_secret.this[each.key].id
  rotation_lambda_arn = each.value
  rotation_rules {
    automatically_after_days = var.rotation_days
  }
}

resource "aws_lambda_permission" "rotation" {
  for_each       = var.rotation_lambda_arns
  function_name  = each.value
  action         = "lambda:InvokeFunction"
  principal      = "secretsmanager.amazonaws.com"
  source_arn     = aws_secretsmanager_secret.this[each.key].arn
  source_account = local.account
}

data "aws_iam_policy_document" "secret" {
  for_each = local.secrets

  # Whatever their own policies come to allow: the pipeline never reads the sink's key, nor the sink the pipeline's.
  statement {
    sid       = "NotTheOther"
    effect    = "Deny"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [aws_secretsmanager_secret.this[each.key].arn]
    principals {
      type        = "AWS"
      identifiers = [each.key == local.sink_secret ? aws_iam_role.this["pipeline"].arn : aws_iam_role.this["connect"].arn]
    }
  }
}

resource "aws_secretsmanager_secret_policy" "this" {
  for_each            = local.secrets
  secret_arn          = aws_secretsmanager_secret.this[each.key].arn
  policy              = data.aws_iam_policy_document.secret[each.key].json
  block_public_policy = true
}
