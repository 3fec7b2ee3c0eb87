-- Make an entry the caller's, with this delivery count. One that was trimmed away is
-- acknowledged and counted instead. (Redis 6.2 shows it as nil, 7 leaves it out.)
local taken, trimmed = {}, 0
local function take(id, count)
  local claimed = redis.call(
    'XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, id, 'RETRYCOUNT', count)
  local entry = claimed[1]
  if entry and entry[2] then
    taken[#taken + 1] = {id, count, entry[2]}
  else
    trimmed = trimmed + 1
    redis.call('XACK', KEYS[1], ARGV[1], id)
  end
end
