-- SPDX-License-Identifier: MIT
-- A million rows with an index, queries that sort and group in memory, updates, and a check of the file.
pragma journal_mode = wal;
pragma cache_size = -64000;
create table rows (id integer primary key, key text, amount integer);
with recursive n (i) as (select 1 union all select i + 1 from n where i < 1000000)
insert into rows select i, 'key-' || (i * 7919 % 1000003), i * 31 % 977 from n;
create index by_key on rows (key);
select count(*), sum(amount), min(key), max(key) from rows;
select amount, count(*), group_concat(substr(key, 5), '') like '%7%' from rows where id % 100 = 0 group by amount order by 2 desc, 1 limit 20;
update rows set key = key || '-' || amount where id % 37 = 0;
delete from rows where id % 41 = 0;
select json_group_array(key) from (select key from rows where amount < 1 order by key limit 500);
select count(*) from rows a join rows b on a.key = b.key where a.id < 20000;
vacuum;
pragma integrity_check;
