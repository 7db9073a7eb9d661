# What AWS itself can see: access that was refused, keys and policies that changed, brokers' disks. What the pipeline
# sees goes to Slack by its own webhook, with advice.
locals {
  namespace = "Sales/${var.environment}"

  log_groups = toset(concat(["pipeline", "network", "trail"], var.enable_msk ? ["kafka", "connect"] : []))

  # Metric filters over a log group, each with an alarm at `threshold` in five minutes.
  watched = {
    PipelineErrors = {
      group     = "pipeline", threshold = 1
      pattern   = "?ERROR ?CRITICAL"
      says      = "The pipeline logged an error. Look at the run in Prefect."
      also_when = true
    }
    AccessDenied = {
      group     = "trail", threshold = 5
      pattern   = "{ ($.errorCode = \"AccessDenied*\") || ($.errorCode = \"*UnauthorizedOperation\") }"
      says      = "Somebody asks for what they may not do. Look in the trail for who and what."
      also_when = true
    }
    KeysEndangered = {
      group     = "trail", threshold = 1
      pattern   = "{ ($.eventSource = \"kms.amazonaws.com\") && (($.eventName = \"DisableKey\") || ($.eventName = \"ScheduleKeyDeletion\")) }"
      says      = "A key is being disabled or deleted: without it the files are lost. Cancel the deletion."
      also_when = true
    }
    BucketPolicyChanged = {
      group     = "trail", threshold = 1
      pattern   = "{ ($.eventSource = \"s3.amazonaws.com\") && (($.eventName = \"PutBucketPolicy\") || ($.eventName = \"DeleteBucketPolicy\") || ($.eventName = \"DeleteBucketPublicAccessBlock\")) }"
      says      = "A bucket's protection was changed; if nobody applied Terraform just now, undo it."
      also_when = true
    }
    SinkErrors = {
      group     = "connect", threshold = 1
      pattern   = "?ERROR ?FATAL"
      says      = "The sink logged an error. Run sales connector status."
      also_when = var.enable_msk
    }
  }
  filters = { for name, filter in local.watched : name => filter if filter.also_when }
}

resource "aws_cloudwatch_log_group" "this" {
  #checkov:skip=CKV_AWS_338:A year in production; dev and staging keep less, see log_retention_days.
  for_each          = local.log_groups
  name              = "/${local.name}/${each.key}"
  retention_in_days = var.log_retention_days
  kms_key_id        = aws_kms_key.platform.arn
}

resource "aws_cloudwatch_log_metric_filter" "this" {
  for_each       = local.filters
  name           = "${local.name}-${each.key}"
  log_group_name = aws_cloudwatch_log_group.this[each.value.group].name
  pattern        = each.value.pattern
  metric_transformation {
    name          = each.key
    namespace     = local.namespace
    value         = "1"
    default_value = "0"
  }
}

resource "aws_cloudwatch_metric_alarm" "filter" {
  for_each            = local.filters
  alarm_name          = "${local.name}-${each.key}"
  alarm_description   = each.value.says
  namespace           = local.namespace
  metric_name         = each.key
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  threshold           = each.value.threshold
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  depends_on          = [aws_cloudwatch_log_metric_filter.this]
}

resource "aws_cloudwatch_metric_alarm" "kafka_disk" {
  count               = var.enable_msk ? 1 : 0
  alarm_name          = "${local.name}-KafkaDisk"
  alarm_description   = "A broker's disk is over 80 % full. Raise msk_volume_gb; it can grow while running."
  namespace           = "AWS/Kafka"
  metric_name         = "KafkaDataLogsDiskUsed"
  dimensions          = { "Cluster Name" = local.name }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 2
  threshold           = 80
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "breaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = local.name
  dashboard_body = jsonencode({
    widgets = concat(
      [{
        type = "alarm", x = 0, y = 0, width = 24, height = 3
        properties = {
          title  = "Alarms"
          alarms = concat([for alarm in aws_cloudwatch_metric_alarm.filter : alarm.arn], aws_cloudwatch_metric_alarm.kafka_disk[*].arn)
        }
      }],
      [for index, name in sort(keys(local.filters)) : {
        type = "metric", x = (index % 3) * 8, y = 3 + floor(index / 3) * 6, width = 8, height = 6
        properties = {
          title   = name
          region  = local.region
          stat    = "Sum"
          period  = 300
          metrics = [[local.namespace, name]]
        }
      }],
      [{
        type = "metric", x = 0, y = 20, width = 24, height = 6
        properties = {
          title   = "Bytes in buckets"
          region  = local.region
          stat    = "Average"
          period  = 86400
          metrics = [for bucket in aws_s3_bucket.this : ["AWS/S3", "BucketSizeBytes", "BucketName", bucket.bucket, "StorageType", "StandardStorage"]]
        }
      }]
    )
  })
}

resource "aws_sns_topic" "alarms" {
  name              = "${local.name}-alarms"
  kms_master_key_id = aws_kms_key.platform.arn
}

data "aws_iam_policy_document" "alarms" {
  statement {
    sid       = "AlarmsAndBudget"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.alarms.arn]
    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com", "budgets.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }
  }
}

resource "aws_sns_topic_policy" "alarms" {
  arn    = aws_sns_topic.alarms.arn
  policy = data.aws_iam_policy_document.alarms.json
}

resource "aws_sns_topic_subscription" "email" {
  for_each  = toset(var.alert_emails)
  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = each.key
}

# AWS Chatbot speaks Slack; SNS itself could post to a webhook, but in a form that Slack refuses.
resource "aws_chatbot_slack_channel_configuration" "alarms" {
  count              = var.slack_channel == null ? 0 : 1
  configuration_name = "${local.name}-alarms"
  slack_team_id      = var.slack_channel.team_id
  slack_channel_id   = var.slack_channel.channel_id
  iam_role_arn       = aws_iam_role.chatbot[0].arn
  sns_topic_arns     = [aws_sns_topic.alarms.arn]
  # Whatever the role may come to be allowed: from the channel, alarms can be looked at and nothing else done.
  guardrail_policy_arns = ["arn:${local.partition}:iam::aws:policy/CloudWatchReadOnlyAccess"]
}

data "aws_iam_policy_document" "chatbot_trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["chatbot.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }
  }
}

resource "aws_iam_role" "chatbot" {
  count              = var.slack_channel == null ? 0 : 1
  name               = "${local.name}-chatbot"
  assume_role_policy = data.aws_iam_policy_document.chatbot_trust.json
}
