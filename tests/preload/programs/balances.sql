-- SPDX-License-Identifier: MIT
-- Every transaction of pgbench adds one amount to three balances and the history, so all sums are equal.
select 'consistent', a = t and t = b and b = h, n from
  (select sum(abalance) a from pgbench_accounts) aa, (select sum(tbalance) t from pgbench_tellers) tt,
  (select sum(bbalance) b from pgbench_branches) bb, (select sum(delta) h, count(*) n from pgbench_history) hh;
select 'sum', sum(delta) from pgbench_history;
select 'digest', md5(string_agg(aid || ':' || abalance, ',' order by aid)) from pgbench_accounts where abalance <> 0;
select 'rows', count(*), sum(n) from (select i % 1000 k, count(*) n, string_agg(i::text, '') s
  from generate_series(1, 200000) i group by 1 order by 3) x;
select 'json', md5(jsonb_agg(jsonb_build_object('k', i, 'v', repeat('x', i % 50)))::text) from generate_series(1, 20000) i;
select 'error', 1 where 'abc' ~ '^(a|b)*c$';
do $$ begin for i in 1..2000 loop begin perform 1 / (i % 2); exception when division_by_zero then null; end; end loop; end $$;
