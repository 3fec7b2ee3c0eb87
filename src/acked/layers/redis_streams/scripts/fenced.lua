local function lease_of(word)
  local id, count = string.match(word, '^(.+)/(%d+)$')
  return id or word, tonumber(count or 1)
end

-- Split the leases from ARGV[first] to ARGV[last] into those that are still the caller's (ids,
-- counts, positions) and those that are not (positions). A page of XPENDING starts at the first
-- id that is not answered yet and is as long as the last one was useful: so one call, or few,
-- where the leases are neighbours.
local function fenced(first, last, stream)
  local owned, counts, places, lost = {}, {}, {}, {}
  local n, seen, asked = last - first + 1, {}, 1
  local size = n
  for i = 1, n do
    local id, count = lease_of(ARGV[first + i - 1])
    if seen[id] == nil then
      if i > 1 then size = math.max(4, math.min(n - i + 1, 2 * (i - asked))) end
      asked = i
      local page = redis.call('XPENDING', stream or KEYS[1], ARGV[1], id, '+', size, ARGV[2])
      for _, entry in ipairs(page) do seen[entry[1]] = entry[4] end
    end
    if seen[id] == count then
      local k = #owned + 1
      owned[k], counts[k], places[k] = id, count, i
      seen[id] = false
    else
      lost[#lost + 1] = i
    end
  end
  return owned, lost, counts, places
end
