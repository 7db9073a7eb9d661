# Three brokers, IAM over TLS only. The sink comes with the second apply, when its plugin lies in the artifacts bucket.
locals {
  enable_connect = var.connector_plugin_key != null
}

resource "aws_security_group" "kafka" {
  #checkov:skip=CKV2_AWS_5:Attached to the cluster and the connector below, where they are enabled.
  count       = var.enable_msk ? 1 : 0
  name        = "${local.name}-kafka"
  description = "Brokers and the sink"
  vpc_id      = aws_vpc.this.id
}

resource "aws_vpc_security_group_ingress_rule" "kafka" {
  count             = var.enable_msk ? 1 : 0
  security_group_id = aws_security_group.kafka[0].id
  description       = "Kafka with IAM, from the VPC"
  cidr_ipv4         = var.vpc_cidr
  ip_protocol       = "tcp"
  from_port         = 9098
  to_port           = 9098
}

resource "aws_vpc_security_group_egress_rule" "kafka" {
  for_each          = var.enable_msk ? { kafka = { cidr = var.vpc_cidr, port = 9098 }, tls = { cidr = "0.0.0.0/0", port = 443 } } : {}
  security_group_id = aws_security_group.kafka[0].id
  description       = each.key == "tls" ? "Snowflake and AWS" : "Brokers"
  cidr_ipv4         = each.value.cidr
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
}

resource "aws_msk_configuration" "this" {
  count          = var.enable_msk ? 1 : 0
  name           = local.name
  kafka_versions = ["3.8.x"]
  server_properties = join("\n", [
    "auto.create.topics.enable=false",
    "default.replication.factor=3",
    "min.insync.replicas=2",
    "unclean.leader.election.enable=false",
    "log.retention.hours=168",
  ])
}

resource "aws_msk_cluster" "this" {
  count                  = var.enable_msk ? 1 : 0
  cluster_name           = local.name
  kafka_version          = "3.8.x"
  number_of_broker_nodes = 3
  enhanced_monitoring    = "PER_TOPIC_PER_BROKER"

  configuration_info {
    arn      = aws_msk_configuration.this[0].arn
    revision = aws_msk_configuration.this[0].latest_revision
  }
  broker_node_group_info {
    instance_type   = var.msk_instance_type
    client_subnets  = [for subnet in aws_subnet.private : subnet.id]
    security_groups = [aws_security_group.kafka[0].id]
    storage_info {
      ebs_storage_info {
        volume_size = var.msk_volume_gb
      }
    }
  }
  client_authentication {
    unauthenticated = false
    sasl {
      iam = true
    }
  }
  encryption_info {
    encryption_at_rest_kms_key_arn = aws_kms_key.platform.arn
    encryption_in_transit {
      client_broker = "TLS"
      in_cluster    = true
    }
  }
  logging_info {
    broker_logs {
      cloudwatch_logs {
        enabled   = true
        log_group = aws_cloudwatch_log_group.this["kafka"].name
      }
    }
  }
}

resource "aws_mskconnect_custom_plugin" "sink" {
  count        = local.enable_connect ? 1 : 0
  name         = "${local.name}-snowflake-sink"
  content_type = "ZIP"
  location {
    s3 {
      bucket_arn = aws_s3_bucket.this["artifacts"].arn
      file_key   = var.connector_plugin_key
    }
  }
}

resource "aws_mskconnect_worker_configuration" "sink" {
  count = local.enable_connect ? 1 : 0
  name  = "${local.name}-sink"
  properties_file_content = join("\n", [
    "key.converter=org.apache.kafka.connect.storage.StringConverter",
    "value.converter=org.apache.kafka.connect.storage.StringConverter",
    # By it the connector's configuration names the key of its Snowflake user instead of holding it.
    "config.providers=secretsmanager",
    "config.providers.secretsmanager.class=com.amazonaws.kafka.config.providers.SecretsManagerConfigProvider",
    "config.providers.secretsmanager.param.region=${local.region}",
  ])
}

resource "aws_mskconnect_connector" "sink" {
  count                      = local.enable_connect ? 1 : 0
  name                       = "${local.name}-snowflake-sink"
  kafkaconnect_version       = "3.7.x"
  connector_configuration    = var.connector_config
  service_execution_role_arn = aws_iam_role.this["connect"].arn

  capacity {
    autoscaling {
      min_worker_count = 1
      max_worker_count = var.connector_tasks_max
      scale_in_policy {
        cpu_utilization_percentage = 20
      }
      scale_out_policy {
        cpu_utilization_percentage = 80
      }
    }
  }
  kafka_cluster {
    apache_kafka_cluster {
      bootstrap_servers = aws_msk_cluster.this[0].bootstrap_brokers_sasl_iam
      vpc {
        subnets         = [for subnet in aws_subnet.private : subnet.id]
        security_groups = [aws_security_group.kafka[0].id]
      }
    }
  }
  kafka_cluster_client_authentication {
    authentication_type = "IAM"
  }
  kafka_cluster_encryption_in_transit {
    encryption_type = "TLS"
  }
  plugin {
    custom_plugin {
      arn      = aws_mskconnect_custom_plugin.sink[0].arn
      revision = aws_mskconnect_custom_plugin.sink[0].latest_revision
    }
  }
  worker_configuration {
    arn      = aws_mskconnect_worker_configuration.sink[0].arn
    revision = aws_mskconnect_worker_configuration.sink[0].latest_revision
  }
  log_delivery {
    worker_log_delivery {
      cloudwatch_logs {
        enabled   = true
        log_group = aws_cloudwatch_log_group.this["connect"].name
      }
    }
  }

  lifecycle {
    # Made here, kept up to date by `sales connector apply`.
    ignore_changes = [connector_configuration]
  }
}
