-- The warehouse's rooms. The database itself belongs to Terraform; on an account without it, this makes it.
create database if not exists {{ database }};
create schema if not exists {{ database }}.RAW;
create schema if not exists {{ database }}.STAGING;
create schema if not exists {{ database }}.INTERMEDIATE;
create schema if not exists {{ database }}.MARTS_CANDIDATE;
create schema if not exists {{ database }}.MARTS;
create schema if not exists {{ database }}.MONITORING;
