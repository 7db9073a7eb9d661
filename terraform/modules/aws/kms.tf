# data: what lies in the buckets. platform: secrets, logs, topics of the alarms, Kafka's disks.
locals {
  key_services = {
    data     = []
    platform = ["logs.${local.region}.amazonaws.com", "cloudwatch.amazonaws.com", "budgets.amazonaws.com", "cloudtrail.amazonaws.com", "events.amazonaws.com"]
  }
}

data "aws_iam_policy_document" "key" {
  #checkov:skip=CKV_AWS_109:The account administers its key, else nobody could; whoever uses it is named in iam.tf.
  #checkov:skip=CKV_AWS_111:As above; a key policy's resource is the key itself.
  #checkov:skip=CKV_AWS_356:In a key policy "*" means this key.
  for_each = local.key_services

  statement {
    sid       = "Account"
    actions   = ["kms:*"]
    resources = ["*"]
    principals {
      type        = "AWS"
      identifiers = [local.root]
    }
  }

  dynamic "statement" {
    for_each = length(each.value) > 0 ? [1] : []
    content {
      sid       = "Services"
      actions   = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
      resources = ["*"]
      principals {
        type        = "Service"
        identifiers = each.value
      }
      condition {
        test     = "StringEqualsIfExists"
        variable = "aws:SourceAccount"
        values   = [local.account]
      }
    }
  }
}

resource "aws_kms_key" "data" {
  description             = "Files of ${local.name}"
  enable_key_rotation     = true
  deletion_window_in_days = var.deletion_protection ? 30 : 7
  policy                  = data.aws_iam_policy_document.key["data"].json
}

resource "aws_kms_key" "platform" {
  description             = "Secrets, logs and messages of ${local.name}"
  enable_key_rotation     = true
  deletion_window_in_days = var.deletion_protection ? 30 : 7
  policy                  = data.aws_iam_policy_document.key["platform"].json
}

resource "aws_kms_alias" "data" {
  name          = "alias/${local.name}-data"
  target_key_id = aws_kms_key.data.id
}

resource "aws_kms_alias" "platform" {
  name          = "alias/${local.name}-platform"
  target_key_id = aws_kms_key.platform.id
}
