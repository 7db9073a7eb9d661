-- One row per Kafka message, exactly as the Snowflake sink writes it (schematization off).
create table if not exists {{ database }}.RAW.SALES_RAW (
    record_metadata variant,
    record_content variant
);

-- One row per valid line of a batch file; replaced batch by batch.
create table if not exists {{ database }}.RAW.SALES_BATCH_RAW (
    source varchar not null,
    order_id varchar not null,
    line_number number(38, 0) not null,
    product_id varchar not null,
    product_name varchar,
    product_category varchar,
    customer_id varchar,
    customer_segment varchar,
    country varchar,
    quantity number(38, 0) not null,
    unit_price number(18, 4) not null,
    currency varchar not null,
    ordered_at timestamp_ntz not null,
    updated_at timestamp_ntz not null,
    batch_id varchar not null,
    file_name varchar not null,
    file_line number(38, 0) not null,
    loaded_at timestamp_ntz not null
);

-- One row per rejected line of a batch file, with the line as it came and every rule it broke.
create table if not exists {{ database }}.RAW.SALES_QUARANTINE (
    source varchar not null,
    batch_id varchar not null,
    file_name varchar not null,
    file_line number(38, 0) not null,
    rule_ids varchar not null,
    raw_line varchar,
    loaded_at timestamp_ntz not null
);
