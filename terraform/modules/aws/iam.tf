# One role for each that comes here, with what the code of this repository asks for and no more:
# pipeline (flows on Prefect's workers), databricks (the Spark job's cluster), snowflake (COPY INTO), connect (the sink).
locals {
  kafka_arn = "arn:${local.partition}:kafka:${local.region}:${local.account}"
  # Topics and groups of this environment's cluster; the last part of a cluster's ARN is not known before it is there.
  topics = { for topic in ["sales_events", "sales_events_dlq"] : topic => "${local.kafka_arn}:topic/${local.name}/*/${topic}" }

  policies = {
    pipeline   = data.aws_iam_policy_document.pipeline
    databricks = data.aws_iam_policy_document.databricks
    snowflake  = data.aws_iam_policy_document.snowflake
    connect    = data.aws_iam_policy_document.connect
    flow-logs  = data.aws_iam_policy_document.flow_logs
    trail      = data.aws_iam_policy_document.trail
  }

  by_external_id = {
    pipeline = var.pipeline_trust
    # Nobody but this account until Snowflake has told its user: what its documentation advises for the first apply.
    snowflake = var.snowflake_trust == null ? { principal_arns = [local.root], external_id = "${local.name}-not-yet" } : { principal_arns = [var.snowflake_trust.iam_user_arn], external_id = var.snowflake_trust.external_id }
  }
  by_service = {
    databricks = "ec2.amazonaws.com"
    connect    = "kafkaconnect.amazonaws.com"
    flow-logs  = "vpc-flow-logs.amazonaws.com"
    trail      = "cloudtrail.amazonaws.com"
  }
}

data "aws_iam_policy_document" "trust" {
  for_each = toset(keys(local.policies))

  dynamic "statement" {
    for_each = { for role, trust in local.by_external_id : role => trust if role == each.key }
    content {
      actions = ["sts:AssumeRole"]
      principals {
        type        = "AWS"
        identifiers = statement.value.principal_arns
      }
      condition {
        test     = "StringEquals"
        variable = "sts:ExternalId"
        values   = [statement.value.external_id]
      }
    }
  }

  dynamic "statement" {
    for_each = { for role, service in local.by_service : role => service if role == each.key }
    content {
      actions = ["sts:AssumeRole"]
      principals {
        type        = "Service"
        identifiers = [statement.value]
      }
      # EC2 hands a role to an instance without naming an account.
      dynamic "condition" {
        for_each = statement.value == "ec2.amazonaws.com" ? [] : [1]
        content {
          test     = "StringEquals"
          variable = "aws:SourceAccount"
          values   = [local.account]
        }
      }
    }
  }
}

resource "aws_iam_role" "this" {
  for_each             = local.policies
  name                 = "${local.name}-${each.key}"
  assume_role_policy   = data.aws_iam_policy_document.trust[each.key].json
  max_session_duration = each.key == "pipeline" ? 14400 : 3600
}

resource "aws_iam_role_policy" "this" {
  for_each = local.policies
  name     = "what-it-needs"
  role     = aws_iam_role.this[each.key].id
  policy   = each.value.json
}

resource "aws_iam_instance_profile" "databricks" {
  name = aws_iam_role.this["databricks"].name
  role = aws_iam_role.this["databricks"].name
}

data "aws_iam_policy_document" "pipeline" {
  statement {
    sid       = "List"
    actions   = ["s3:ListBucket", "s3:GetBucketLocation"]
    resources = [for name in local.data_buckets : aws_s3_bucket.this[name].arn]
  }
  statement {
    sid       = "Read"
    actions   = ["s3:GetObject"]
    resources = [for name in local.data_buckets : "${aws_s3_bucket.this[name].arn}/*"]
  }
  statement {
    sid       = "EmptyTheDrop"
    actions   = ["s3:DeleteObject"]
    resources = ["${aws_s3_bucket.this["drop"].arn}/*"]
  }
  statement {
    sid     = "Write"
    actions = ["s3:PutObject", "s3:AbortMultipartUpload"]
    resources = [
      "${aws_s3_bucket.this["drop"].arn}/refused/*",
      "${aws_s3_bucket.this["raw"].arn}/*",
      "${aws_s3_bucket.this["processed"].arn}/jobs/*",
      "${aws_s3_bucket.this["processed"].arn}/sales_batch/*/spec.json",
      "${aws_s3_bucket.this["artifacts"].arn}/results/*",
    ]
  }
  statement {
    sid       = "Encrypt"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [aws_kms_key.data.arn]
  }
  statement {
    sid       = "Secrets"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [for name in keys(local.pipeline_secrets) : aws_secretsmanager_secret.this[name].arn]
  }
  statement {
    sid       = "DecryptSecrets"
    actions   = ["kms:Decrypt"]
    resources = [aws_kms_key.platform.arn]
    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["secretsmanager.${local.region}.amazonaws.com"]
    }
  }
  statement {
    sid       = "Kafka"
    actions   = ["kafka-cluster:Connect", "kafka-cluster:DescribeCluster", "kafka-cluster:WriteDataIdempotently"]
    resources = ["${local.kafka_arn}:cluster/${local.name}/*"]
  }
  statement {
    sid       = "Events"
    actions   = ["kafka-cluster:CreateTopic", "kafka-cluster:DescribeTopic", "kafka-cluster:DescribeTopicDynamicConfiguration", "kafka-cluster:ReadData", "kafka-cluster:WriteData"]
    resources = values(local.topics)
  }
  statement {
    sid       = "Groups"
    actions   = ["kafka-cluster:DescribeGroup", "kafka-cluster:AlterGroup"]
    resources = ["${local.kafka_arn}:group/${local.name}/*/*"]
  }
  statement {
    sid       = "Sink"
    actions   = ["kafkaconnect:DescribeConnector", "kafkaconnect:UpdateConnector", "kafkaconnect:RestartConnector"]
    resources = ["arn:${local.partition}:kafkaconnect:${local.region}:${local.account}:connector/${local.name}-snowflake-sink/*"]
  }
  statement {
    #checkov:skip=CKV_AWS_356:ListConnectors and PutMetricData know no resource; the second is held to one namespace.
    sid       = "ListSinks"
    actions   = ["kafkaconnect:ListConnectors"]
    resources = ["*"]
  }
  statement {
    sid       = "Metrics"
    actions   = ["cloudwatch:PutMetricData"]
    resources = ["*"]
    condition {
      test     = "StringEquals"
      variable = "cloudwatch:namespace"
      values   = [local.namespace]
    }
  }
  statement {
    sid       = "Logs"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.this["pipeline"].arn}:*"]
  }
}

data "aws_iam_policy_document" "databricks" {
  statement {
    sid       = "List"
    actions   = ["s3:ListBucket", "s3:GetBucketLocation"]
    resources = [aws_s3_bucket.this["raw"].arn, aws_s3_bucket.this["processed"].arn]
  }
  statement {
    sid       = "Read"
    actions   = ["s3:GetObject"]
    resources = ["${aws_s3_bucket.this["raw"].arn}/*", "${aws_s3_bucket.this["processed"].arn}/*"]
  }
  statement {
    # Batches only: the job's own code lies beside them, in jobs/, and is not the job's to change.
    sid       = "WriteBatches"
    actions   = ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
    resources = ["${aws_s3_bucket.this["processed"].arn}/sales_batch/*"]
  }
  statement {
    sid       = "Encrypt"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [aws_kms_key.data.arn]
  }
}

data "aws_iam_policy_document" "snowflake" {
  statement {
    sid       = "List"
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.this["processed"].arn]
    condition {
      test     = "StringLike"
      variable = "s3:prefix"
      values   = ["sales_batch/*"]
    }
  }
  statement {
    sid       = "Locate"
    actions   = ["s3:GetBucketLocation"]
    resources = [aws_s3_bucket.this["processed"].arn]
  }
  statement {
    sid       = "Read"
    actions   = ["s3:GetObject", "s3:GetObjectVersion"]
    resources = ["${aws_s3_bucket.this["processed"].arn}/sales_batch/*"]
  }
  statement {
    sid       = "Decrypt"
    actions   = ["kms:Decrypt"]
    resources = [aws_kms_key.data.arn]
  }
}

data "aws_iam_policy_document" "connect" {
  statement {
    sid       = "Kafka"
    actions   = ["kafka-cluster:Connect", "kafka-cluster:DescribeCluster"]
    resources = ["${local.kafka_arn}:cluster/${local.name}/*"]
  }
  statement {
    sid       = "ReadEvents"
    actions   = ["kafka-cluster:DescribeTopic", "kafka-cluster:ReadData"]
    resources = [local.topics["sales_events"]]
  }
  statement {
    sid       = "WriteDeadLetters"
    actions   = ["kafka-cluster:CreateTopic", "kafka-cluster:DescribeTopic", "kafka-cluster:WriteData"]
    resources = [local.topics["sales_events_dlq"]]
  }
  statement {
    # Where MSK Connect keeps configuration, offsets and status.
    sid       = "OwnTopics"
    actions   = ["kafka-cluster:CreateTopic", "kafka-cluster:DescribeTopic", "kafka-cluster:ReadData", "kafka-cluster:WriteData"]
    resources = ["${local.kafka_arn}:topic/${local.name}/*/__amazon_msk_connect_*"]
  }
  statement {
    sid       = "Groups"
    actions   = ["kafka-cluster:DescribeGroup", "kafka-cluster:AlterGroup"]
    resources = ["${local.kafka_arn}:group/${local.name}/*/__amazon_msk_connect_*", "${local.kafka_arn}:group/${local.name}/*/connect-*"]
  }
  statement {
    sid       = "Secret"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [aws_secretsmanager_secret.this[local.sink_secret].arn]
  }
  statement {
    sid       = "DecryptSecret"
    actions   = ["kms:Decrypt"]
    resources = [aws_kms_key.platform.arn]
    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["secretsmanager.${local.region}.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "flow_logs" {
  statement {
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"]
    resources = ["${aws_cloudwatch_log_group.this["network"].arn}:*"]
  }
}

data "aws_iam_policy_document" "trail" {
  statement {
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.this["trail"].arn}:*"]
  }
}
