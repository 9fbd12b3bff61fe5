-- SPDX-License-Identifier: MIT
-- What does a script pay that makes tables and strings? The argument is the number of records. A live set is
-- replaced at random, and grouped now and then; the numbers come from a generator with a fixed seed.
local count = tonumber(arg[1])
local LIVE, GROUP_EVERY = 20000, 50000
local state = 20011

local function draw(limit)
  state = (state * 1103515245 + 12345) % 2147483648
  return state // 65536 % limit
end

local function make_record(number)
  local tags = {}
  for i = 1, draw(6) do tags[i] = "tag-" .. draw(100) end
  return {id = number, name = "user-" .. number, tags = tags, note = ("x"):rep(draw(200))}
end

local function group(live)
  local groups = {}
  for _, record in pairs(live) do
    for _, tag in ipairs(record.tags) do
      groups[tag] = groups[tag] or {}
      table.insert(groups[tag], record.name)
    end
  end
  local length = 0
  for _, names in pairs(groups) do
    table.sort(names)
    length = length + #table.concat(names, ",")
  end
  return length
end

local live, length = {}, 0
for number = 1, count do
  live[draw(LIVE) + 1] = make_record(number)
  if number % GROUP_EVERY == 0 then length = length + group(live) end
end
print(count .. " records, " .. length .. " characters grouped")
