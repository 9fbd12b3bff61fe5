-- SPDX-License-Identifier: MIT
-- What does an SQL database in memory pay? The table `amount` says how many rows.
CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, town TEXT, note TEXT, score REAL);
CREATE INDEX person_name ON person (name);
CREATE INDEX person_town ON person (town, score);

-- 2654435761 is Knuth's multiplier: numbers without visible order, the same in every run.
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n, amount WHERE i < row_count)
INSERT INTO person
SELECT i, printf('user-%x', i * 2654435761 % 4294967296), printf('town-%d', i * 2654435761 % 997),
       substr('the quick brown fox jumps over the lazy dog', 1, i % 40), i * 2654435761 % 100003 / 7.0
FROM n;

SELECT count(*), round(sum(total)) FROM (SELECT town, sum(score) AS total FROM person GROUP BY town);
SELECT length(group_concat(name)) FROM (SELECT name FROM person ORDER BY note, score);
SELECT count(*) FROM person AS a JOIN person AS b ON a.town = b.town AND a.id = b.id + 997;
UPDATE person SET note = note || name WHERE id % 3 = 0;
DELETE FROM person WHERE id % 5 = 0;
SELECT count(*), max(length(note)) FROM person WHERE name LIKE '%a7%';
