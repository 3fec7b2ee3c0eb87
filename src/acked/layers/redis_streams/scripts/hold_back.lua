-- Give back until it is due what was published with a delay: its first field says for how many
-- milliseconds from those of its id on. Nobody was handed it, so no delivery counts. Say whether it
-- was held back; what is no number of ours holds back nothing.
local function hold_back(place, id, fields)
  local delay = fields[1] == DELAY and #fields[2] < 16 and string.match(fields[2], '^%d+$')
  if not delay then return false end
  local due = string.match(id, '^%d+') + delay
  if due <= now() then return false end
  -- In this order: a full server refuses what needs memory only as the first write of a script.
  redis.call('XCLAIM', place.stream, place.group, FREE, 0, id, 'RETRYCOUNT', 0, 'JUSTID')
  redis.call('ZADD', place.moments, due, id)
  -- Who waits for a later moment has to know of an earlier one.
  if redis.call('ZRANGE', place.moments, 0, 0)[1] == id then wake(place.wakes) end
  return true
end
