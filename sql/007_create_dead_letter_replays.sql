-- What became of dead letters that were sent again; rows are only ever added. A letter is named by the event
-- it is about (topic/partition/offset), so that its copies are one letter. A replay first claims its letters,
-- noting in topic_ends where the topic ended (offset by partition, JSON), then sends them, and notes each as
-- sent, with its new place, or as dropped if it was not sent after all.
create table if not exists {{ database }}.MONITORING.DEAD_LETTER_REPLAYS (
    letter varchar not null,
    replay_id varchar not null,
    status varchar not null,
    topic_ends varchar,
    replayed_partition number(38, 0),
    replayed_offset number(38, 0),
    noted_at timestamp_ntz not null
);
