-- Hand out what a consumer owns and does not know of, if it is due, and read on behind it: where
-- there is room for few messages, each of many with a delay would take a request of its own.
-- uses: now wake lanes fenced hold_back take
-- ARGV[3] is for how many that are new there is room, ARGV[4...] are leases. Returns {id, count,
-- fields} for each that is its own, and how many were trimmed away; no attempt is charged.
local WALK = 500
local found, place, walk = {entries = {}, trimmed = 0}, only_place(), WALK
local owned, _, counts = fenced(4, #ARGV)
for i, id in ipairs(owned) do take(found, place, id, counts[i]) end
local room = tonumber(ARGV[3]) - #found.entries
while room > 0 and walk > 0 do
  local reply = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', math.min(room, walk),
    'STREAMS', place.stream, '>')
  if not reply then break end
  for _, entry in ipairs(reply[1][2]) do
    walk = walk - 1
    if not hold_back(place, entry[1], entry[2]) then
      room = room - 1
      found.entries[#found.entries + 1] = {entry[1], 1, entry[2]}
    end
  end
end
return {found.entries, found.trimmed}
