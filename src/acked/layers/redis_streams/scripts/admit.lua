-- Entering lanes, in the order of the stream: `place.lane_of` has, without a name, up to which entry
-- all of the group's have.
local MARK, LOOK = '', 200

-- Say whether a consumer hands out nothing that it did not see enter a lane: its name tells.
local function heeds_order(consumer)
  return string.find(consumer, '~k~%d+$') ~= nil
end

local function lane_for(fields)
  local key
  for i = 1, #fields, 2 do
    if fields[i] == 'key' then key = fields[i + 1] end
  end
  return key and redis.sha1hex(key)
end

local function enter(place, id, lane)
  redis.call('HSET', place.lane_of, id, lane)
  redis.call('ZADD', place.lanes, 0, lane .. padded(id))
end

-- What is before it and pending no more was settled by somebody who knows of no lanes.
local function is_first(place, id, lane)
  local first = first_of(place, lane)
  while first and first ~= id and not owner_of(place, first) do
    local _, is_free = leave_lane(place, first, lane)
    if is_free then wake(place.wakes) end
    first = first_of(place, lane)
  end
  return not first or first == id
end

local function park(place, id, count)
  redis.call('XCLAIM', place.stream, place.group, PARKED, 0, id, 'RETRYCOUNT', count, 'JUSTID')
  redis.call('ZREM', place.moments, id)
end

-- Let what the group was given by blocking reads enter, a page of it; what nobody has in hand and is
-- not the first of its lane is parked. Say whether that was all.
local function admit(place)
  local mark = redis.call('HGET', place.lane_of, MARK)
  local start = mark and '(' .. mark or '-'
  local page = redis.call('XPENDING', place.stream, place.group, start, '+', LOOK)
  -- A full server refuses what needs memory as the first write of a script, and no later one: what
  -- was read has to enter.
  if #page > 0 then redis.call('HDEL', place.lane_of, MARK) end
  for _, row in ipairs(page) do
    local id, owner = row[1], row[2]
    local entry = redis.call('XRANGE', place.stream, id, id)[1]
    local lane = entry and lane_for(entry[2])
    if lane then
      enter(place, id, lane)
      local is_fresh = heeds_order(owner)
      if (is_fresh or owner == FREE) and not is_first(place, id, lane) then
        park(place, id, is_fresh and 0 or row[4])
      end
    end
  end
  if #page > 0 then redis.call('HSET', place.lane_of, MARK, page[#page][1]) end
  return #page < LOOK
end
