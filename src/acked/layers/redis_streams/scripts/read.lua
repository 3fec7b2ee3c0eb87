-- Read what is new in several streams, a few entries in all: where there are more streams than that,
-- one command would return too many, and one for each stream takes too long.
-- KEYS are streams; ARGV[3] is how many to read at most. Returns how many streams were asked, and
-- {position, entries} for each that had any: one of each first, then more of those.
local room, asked, replies = tonumber(ARGV[3]), 0, {}

local function read(position, count)
  local reply = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', count,
    'STREAMS', KEYS[position], '>')
  if not reply then return 0 end
  local entries = reply[1][2]
  replies[#replies + 1] = {position, entries}
  room = room - #entries
  return #entries
end

for position = 1, #KEYS do
  if room <= 0 then break end
  asked = position
  read(position, 1)
end
for i = 1, #replies do
  while room > 0 and read(replies[i][1], room) > 0 do end
end
return {asked, replies}
