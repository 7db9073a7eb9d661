-- Where Spark leaves its Parquet. `stage_options` names the storage integration of the account.
create stage if not exists {{ database }}.RAW.PROCESSED_STAGE
    url = '{{ processed_url }}' {{ stage_options }};
