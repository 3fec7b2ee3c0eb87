-- Let leases end later.
-- uses: now wake lanes fenced
-- ARGV[3] their new idle time, ARGV[4] milliseconds until they end if that is more than a lease,
-- else 0; ARGV[5...] leases. Returns what REQUEUE does.
local owned, lost, _, places = fenced(5, #ARGV)
if #owned == 0 then return {lost, 0} end
if ARGV[4] ~= '0' then
  local ends = now() + ARGV[4]
  for _, id in ipairs(owned) do redis.call('ZADD', KEYS[2], ends, id) end
elseif redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('ZREM', KEYS[2], unpack(owned))
end
local words = {KEYS[1], ARGV[1], ARGV[2], 0}
for _, id in ipairs(owned) do words[#words + 1] = id end
for _, word in ipairs({'IDLE', ARGV[3], 'JUSTID'}) do words[#words + 1] = word end
local still, trimmed = {}, 0
for _, id in ipairs(redis.call('XCLAIM', unpack(words))) do still[id] = true end
for i, id in ipairs(owned) do
  if not still[id] then
    redis.call('ZREM', KEYS[2], id)
    trimmed = trimmed + 1 + leave_lanes(only_place(), {id}, 1)
    lost[#lost + 1] = places[i]
  end
end
return {lost, trimmed}
