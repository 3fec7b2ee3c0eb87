-- Give leases back, to be delivered again.
-- uses: now wake lanes fenced notes
-- ARGV[3] a delay in milliseconds, ARGV[4] what to add to the delivery count,
-- ARGV[5...] leases. Returns the positions of those that were lost, and how many of these were
-- trimmed away.
-- A nack begins the count of deliveries alone anew; anything else only takes away the note.
local function count_after(count, added)
  if added > 0 then return count % ALONE + added end
  return without_note(count) + added
end

local owned, lost, counts, places = fenced(5, #ARGV)
local due, trimmed, added = now() + ARGV[3], 0, tonumber(ARGV[4])
for i, id in ipairs(owned) do
  local noted = redis.pcall('ZADD', KEYS[2], due, id)
  -- Without memory for it: what shall wait cannot; what shall come at once is found without.
  if type(noted) == 'table' and noted.err and ARGV[3] ~= '0' then return noted end
  local moved = redis.call('XCLAIM', KEYS[1], ARGV[1], FREE, 0, id,
    'RETRYCOUNT', math.max(0, count_after(counts[i], added)), 'JUSTID')
  if #moved == 0 then
    redis.call('ZREM', KEYS[2], id)
    trimmed = trimmed + 1 + leave_lanes(only_place(), {id}, 1)
    lost[#lost + 1] = places[i]
  end
end
if #owned > 0 then wake(KEYS[3]) end
return {lost, trimmed}
