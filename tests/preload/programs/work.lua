-- SPDX-License-Identifier: MIT
-- Tables, strings and coroutines; Lua frees and resizes through one realloc-like function.
local rows = {}
for i = 1, 150000 do
  rows[i] = { id = i, name = ("item-%d"):format(i * 7919 % 10007), list = { i, i * 2, i % 7 } }
end
table.sort(rows, function(a, b)
  if a.name ~= b.name then return a.name < b.name end
  return a.id < b.id
end)
local sum, parts = 0, {}
for i, row in ipairs(rows) do
  sum = (sum * 31 + row.id + row.list[3]) % 1000000007
  if i % 100 == 0 then parts[#parts + 1] = row.name .. string.rep("x", i % 50) end
end
print(sum, #table.concat(parts, ","))
rows = nil
collectgarbage()
local total = 0
for i = 1, 20000 do
  local c = coroutine.wrap(function(a) local b = coroutine.yield(a + 1) return a * b end)
  total = total + c(i) + c(3)
end
print(total)
local text = {}
for word in string.rep("alpha beta gamma ", 20000):gmatch("%a+") do text[#text + 1] = word:reverse() end
print(#text, text[#text])
