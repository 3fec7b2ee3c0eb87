-- Read what is new in several streams; park what is not the first of its key, hold back what is and
-- is not due.
-- uses: now wake lanes admit hold_back
-- KEYS are those of each stream, in turn; ARGV[3] is how many to hand out at most: none if only what
-- was read otherwise is to enter its lanes. Returns whether there may be more now, and {position,
-- entries} for each stream that had any.
local WALK = 1000
local room, walk, more, replies, busy = tonumber(ARGV[3]), WALK, 0, {}, {}

local function read(found, count)
  local place, reply = found.place, redis.call(
    'XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', count, 'STREAMS', found.place.stream, '>')
  local entries = reply and reply[1][2] or {}
  for _, entry in ipairs(entries) do
    local id, lane = entry[1], lane_for(entry[2])
    if lane then enter(place, id, lane) end
    if lane and not is_first(place, id, lane) then
      park(place, id, 0)
    elseif not hold_back(place, id, entry[2]) then
      found.entries[#found.entries + 1] = entry
      room = room - 1
    end
  end
  if #entries > 0 then redis.call('HSET', place.lane_of, MARK, entries[#entries][1]) end
  walk = walk - #entries
  return #entries == count
end

for position = 1, #KEYS / 6 do
  local found = {place = place_at(6 * position - 5, 6 * position - 4, ARGV[1]), entries = {}}
  if admit(found.place) then
    busy[#busy + 1] = found
    replies[position] = {position, found.entries}
  else
    more = 1
  end
end
while room > 0 and walk > 0 and #busy > 0 do
  local share, left = math.max(1, math.floor(room / #busy)), {}
  for _, found in ipairs(busy) do
    local count = math.min(share, room, walk)
    if count > 0 and read(found, count) then left[#left + 1] = found end
  end
  busy = left
end
if walk <= 0 then more = 1 end
local told = {}
for position = 1, #KEYS / 6 do
  local reply = replies[position]
  if reply and #reply[2] > 0 then told[#told + 1] = reply end
end
return {more, told}
