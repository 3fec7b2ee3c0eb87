-- Make an entry of a place the caller's, with this delivery count, and add it to `found`. One that
-- was trimmed away is acknowledged and counted instead. (Redis 6.2 shows it as nil, 7 leaves it out.)
-- One that is not due yet is nobody's.
local function take(found, place, id, count)
  local claimed = redis.call(
    'XCLAIM', place.stream, ARGV[1], ARGV[2], 0, id, 'RETRYCOUNT', count)
  local entry = claimed[1]
  if entry and entry[2] then
    if not hold_back(place, id, entry[2]) then
      found.entries[#found.entries + 1] = {id, count, entry[2]}
    end
  else
    redis.call('XACK', place.stream, ARGV[1], id)
    found.trimmed = found.trimmed + 1 + leave_lanes(place, {id}, 1)
  end
end
