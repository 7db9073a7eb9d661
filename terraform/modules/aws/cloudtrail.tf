# Who read and wrote which file, and who changed what. The account's own trail, if there is one, does not know objects.
resource "aws_cloudtrail" "this" {
  #checkov:skip=CKV_AWS_252:Alarms come by metric filters on its log group; a message for each delivered file would be noise.
  name                          = local.name
  s3_bucket_name                = aws_s3_bucket.this["logs"].id
  s3_key_prefix                 = "trail"
  kms_key_id                    = aws_kms_key.platform.arn
  is_multi_region_trail         = true
  include_global_service_events = true
  enable_log_file_validation    = true
  cloud_watch_logs_group_arn    = "${aws_cloudwatch_log_group.this["trail"].arn}:*"
  cloud_watch_logs_role_arn     = aws_iam_role.this["trail"].arn
  depends_on                    = [aws_s3_bucket_policy.this]

  advanced_event_selector {
    name = "Files"
    field_selector {
      field  = "eventCategory"
      equals = ["Data"]
    }
    field_selector {
      field  = "resources.type"
      equals = ["AWS::S3::Object"]
    }
    field_selector {
      field       = "resources.ARN"
      starts_with = [for name in local.data_buckets : "${aws_s3_bucket.this[name].arn}/"]
    }
  }
  advanced_event_selector {
    name = "Changes"
    field_selector {
      field  = "eventCategory"
      equals = ["Management"]
    }
  }
}
