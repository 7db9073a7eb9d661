# Flags, on a mocked provider: no account, no server.
mock_provider "aws" {
  mock_data "aws_availability_zones" {
    defaults = { names = ["a", "b", "c", "d"] }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_region" {
    defaults = { name = "eu-west-1" }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
}

variables {
  environment        = "dev"
  monthly_budget_usd = 100
  pipeline_trust     = { principal_arns = ["arn:aws:iam::123456789012:user/prefect"], external_id = "x" }
}

run "nothing_that_is_not_asked_for" {
  command = plan
  assert {
    condition     = length(aws_msk_cluster.this) + length(aws_mskconnect_connector.sink) + length(aws_nat_gateway.this) == 0
    error_message = "Kafka and the way out cost money, and come with enable_msk."
  }
  assert {
    condition     = length(aws_chatbot_slack_channel_configuration.alarms) + length(aws_s3_bucket_notification.drop) == 0
    error_message = "Slack and EventBridge come with their variables."
  }
  assert {
    condition     = alltrue([for bucket in aws_s3_bucket.this : bucket.force_destroy == false])
    error_message = "Protected from deletion unless said otherwise."
  }
  assert {
    condition     = length(aws_subnet.private) == 3 && length(aws_subnet.public) == 0
    error_message = "Three private subnets, whatever the number of zones."
  }
}

run "kafka" {
  command = plan
  variables {
    enable_msk = true
  }
  assert {
    condition     = length(aws_msk_cluster.this) == 1 && length(aws_nat_gateway.this) == 1 && length(aws_mskconnect_connector.sink) == 0
    error_message = "enable_msk makes a cluster; the sink waits for its plugin."
  }
  assert {
    condition     = contains(keys(aws_cloudwatch_log_group.this), "kafka") && contains(keys(aws_cloudwatch_metric_alarm.filter), "SinkErrors")
    error_message = "Kafka's logs and alarms come with it."
  }
}

run "a_template_is_no_configuration" {
  command = plan
  variables {
    enable_msk           = true
    connector_plugin_key = "plugins/snowflake.zip"
    connector_config     = { "snowflake.user.name" = "{{ snowflake_user }}" }
  }
  expect_failures = [var.connector_config]
}

run "a_sink_without_a_cluster" {
  command = plan
  variables {
    connector_plugin_key = "plugins/snowflake.zip"
  }
  expect_failures = [var.connector_plugin_key]
}

run "nobody_is_everybody" {
  command = plan
  variables {
    pipeline_trust = { principal_arns = ["*"], external_id = "x" }
  }
  expect_failures = [var.pipeline_trust]
}

run "events_and_slack" {
  command = plan
  variables {
    prefect_webhook_url = "https://api.prefect.cloud/hooks/x"
    slack_channel       = { team_id = "T0000000", channel_id = "C0000000" }
  }
  assert {
    condition     = aws_s3_bucket_notification.drop[0].eventbridge && length(aws_cloudwatch_event_target.prefect) == 1
    error_message = "Each file in the drop is told to Prefect."
  }
  assert {
    condition     = aws_chatbot_slack_channel_configuration.alarms[0].slack_channel_id == "C0000000"
    error_message = "Alarms go to the channel."
  }
}

run "rotation" {
  command = plan
  variables {
    rotation_lambda_arns = { snowflake_private_key = "arn:aws:lambda:eu-west-1:123456789012:function:rotate" }
  }
  assert {
    condition     = keys(aws_secretsmanager_secret_rotation.this) == ["snowflake_private_key"] && aws_secretsmanager_secret_rotation.this["snowflake_private_key"].rotation_rules[0].automatically_after_days == 90
    error_message = "A secret with a function is rotated every 90 days."
  }
}
