-- What a publication is: a name of its own, what it did, whose tables it shows, and what it took the place
-- of. kind: 'publish' or 'rollback'. content_id: the publication whose tables readers see since then, its
-- own for a 'publish', that gone back to for a 'rollback'; they are kept as schema
-- MARTS_PUBLICATION_<content_id>. previous_id: the content_id before. run_id: the flow run that made the
-- tables. shown_at: null until readers see it.
alter table {{ database }}.MONITORING.PUBLICATIONS add column if not exists publication_id varchar;
alter table {{ database }}.MONITORING.PUBLICATIONS add column if not exists kind varchar;
alter table {{ database }}.MONITORING.PUBLICATIONS add column if not exists content_id varchar;
alter table {{ database }}.MONITORING.PUBLICATIONS add column if not exists previous_id varchar;
alter table {{ database }}.MONITORING.PUBLICATIONS add column if not exists published_by varchar;
alter table {{ database }}.MONITORING.PUBLICATIONS add column if not exists shown_at timestamp_ntz;
-- Publications from before there were names; their tables were not kept.
update {{ database }}.MONITORING.PUBLICATIONS set
    publication_id = to_char(published_at, 'YYYYMMDD') || 'T' || to_char(published_at, 'HH24MISSFF3'),
    content_id = to_char(published_at, 'YYYYMMDD') || 'T' || to_char(published_at, 'HH24MISSFF3'),
    kind = 'publish',
    shown_at = published_at
where publication_id is null;
