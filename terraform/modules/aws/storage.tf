# drop: inbox that landing empties. raw: archive, only ever added to. processed: Spark's output.
# artifacts: results, reports, plugins. logs: who read and wrote the others.
locals {
  data_buckets = toset(["drop", "raw", "processed", "artifacts"])
  buckets      = setunion(local.data_buckets, ["logs"])
  # By name, so that a plan shows the policies before there is a bucket.
  bucket_names = { for bucket in local.buckets : bucket => "${local.name}-${bucket}-${local.account}" }
  bucket_arns  = { for bucket, name in local.bucket_names : bucket => "arn:${local.partition}:s3:::${name}" }

  # Days until an object moves to a cheaper class, until it goes, and until what it replaced goes; null: never.
  lifecycles = {
    drop      = { infrequent = null, archive = null, expire = 90, replaced = 14 }
    raw       = { infrequent = 30, archive = 120, expire = var.raw_retention_days, replaced = 90 }
    processed = { infrequent = 30, archive = null, expire = var.processed_retention_days, replaced = 14 }
    artifacts = { infrequent = null, archive = null, expire = null, replaced = 90 }
    logs      = { infrequent = 90, archive = null, expire = 400, replaced = 30 }
  }
}

resource "aws_s3_bucket" "this" {
  #checkov:skip=CKV_AWS_144:One region by design; raw can be delivered again by its source, the rest is made from raw.
  #checkov:skip=CKV2_AWS_62:Only the drop has news for somebody; see aws_s3_bucket_notification.drop.
  #checkov:skip=CKV_AWS_18:The four data buckets log to the fifth; a log bucket that logged to itself would never rest.
  #checkov:skip=CKV_AWS_145:The data buckets use KMS; S3 does not deliver access logs to a bucket with a KMS default.
  for_each      = local.buckets
  bucket        = local.bucket_names[each.key]
  force_destroy = !var.deletion_protection
}

resource "aws_s3_bucket_versioning" "this" {
  for_each = local.buckets
  bucket   = aws_s3_bucket.this[each.key].id
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  for_each = local.buckets
  bucket   = aws_s3_bucket.this[each.key].id
  rule {
    bucket_key_enabled = each.key != "logs"
    apply_server_side_encryption_by_default {
      sse_algorithm     = each.key == "logs" ? "AES256" : "aws:kms"
      kms_master_key_id = each.key == "logs" ? null : aws_kms_key.data.arn
    }
  }
}

resource "aws_s3_bucket_public_access_block" "this" {
  for_each                = local.buckets
  bucket                  = aws_s3_bucket.this[each.key].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "this" {
  for_each = local.buckets
  bucket   = aws_s3_bucket.this[each.key].id
  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "this" {
  for_each   = local.buckets
  bucket     = aws_s3_bucket.this[each.key].id
  depends_on = [aws_s3_bucket_versioning.this]

  rule {
    id     = "keep-and-tier"
    status = "Enabled"
    filter {}

    # Parts of an upload that was cut off cost as objects do, and no listing shows them.
    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
    noncurrent_version_expiration {
      noncurrent_days = local.lifecycles[each.key].replaced
    }
    dynamic "transition" {
      for_each = { for class, days in { STANDARD_IA = local.lifecycles[each.key].infrequent, GLACIER_IR = local.lifecycles[each.key].archive } : class => days if days != null }
      content {
        storage_class = transition.key
        days          = transition.value
      }
    }
    dynamic "expiration" {
      for_each = local.lifecycles[each.key].expire == null ? [] : [local.lifecycles[each.key].expire]
      content {
        days = expiration.value
      }
    }
  }
}

data "aws_iam_policy_document" "bucket" {
  for_each = local.buckets

  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [local.bucket_arns[each.key], "${local.bucket_arns[each.key]}/*"]
    principals {
      type        = "AWS"
      identifiers = ["*"]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }

  dynamic "statement" {
    for_each = var.deletion_protection ? [1] : []
    content {
      sid       = "KeepTheBucket"
      effect    = "Deny"
      actions   = ["s3:DeleteBucket"]
      resources = [local.bucket_arns[each.key]]
      principals {
        type        = "AWS"
        identifiers = ["*"]
      }
    }
  }

  dynamic "statement" {
    for_each = each.key == "logs" ? { AccessLogs = "logging.s3.amazonaws.com", Trail = "cloudtrail.amazonaws.com" } : {}
    content {
      sid       = "${statement.key}Write"
      actions   = ["s3:PutObject"]
      resources = ["${local.bucket_arns[each.key]}/*"]
      principals {
        type        = "Service"
        identifiers = [statement.value]
      }
      condition {
        test     = "StringEquals"
        variable = "aws:SourceAccount"
        values   = [local.account]
      }
    }
  }

  dynamic "statement" {
    for_each = each.key == "logs" ? [1] : []
    content {
      sid       = "TrailLooksFirst"
      actions   = ["s3:GetBucketAcl"]
      resources = [local.bucket_arns[each.key]]
      principals {
        type        = "Service"
        identifiers = ["cloudtrail.amazonaws.com"]
      }
      condition {
        test     = "StringEquals"
        variable = "aws:SourceAccount"
        values   = [local.account]
      }
    }
  }
}

resource "aws_s3_bucket_policy" "this" {
  for_each   = local.buckets
  bucket     = aws_s3_bucket.this[each.key].id
  policy     = data.aws_iam_policy_document.bucket[each.key].json
  depends_on = [aws_s3_bucket_public_access_block.this]
}

resource "aws_s3_bucket_logging" "this" {
  for_each      = local.data_buckets
  bucket        = aws_s3_bucket.this[each.key].id
  target_bucket = aws_s3_bucket.this["logs"].id
  target_prefix = "access/${each.key}/"
  depends_on    = [aws_s3_bucket_policy.this]
}

# Incomplete uploads are in no inventory report; Storage Lens counts their bytes, bucket by bucket, at no cost.
resource "aws_s3control_storage_lens_configuration" "this" {
  count     = var.enable_storage_lens ? 1 : 0
  config_id = local.name
  storage_lens_configuration {
    enabled = true
    account_level {
      bucket_level {}
    }
    include {
      buckets = [for bucket in aws_s3_bucket.this : bucket.arn]
      regions = [local.region]
    }
  }
}
