-- Lanes: of each key, what a group owes of it, in its order. `place` has the keys of a stream for a
-- group. The first of a lane is with a consumer, or FREE; what is behind it is PARKED, unless a
-- consumer that heeds no order took it.
local function place_at(stream, beside, group)
  return {
    stream = KEYS[stream], group = group, moments = KEYS[beside], wakes = KEYS[beside + 1],
    scanned = KEYS[beside + 2], lane_of = KEYS[beside + 3], lanes = KEYS[beside + 4]}
end

local function only_place()
  return place_at(1, 2, ARGV[1])
end

-- An entry's place in its lane: ids as texts of one length are in the order of their numbers.
local function padded(id)
  local ms, n = string.match(id, '^(%d+)-(%d+)$')
  return string.rep('0', 20 - #ms) .. ms .. '-' .. string.rep('0', 20 - #n) .. n
end

local function first_of(place, lane)
  local member = redis.call(
    'ZRANGE', place.lanes, '[' .. lane, '(' .. lane .. ':', 'BYLEX', 'LIMIT', 0, 1)[1]
  if not member then return nil end
  local ms, n = string.match(member, '^0*(%d+)-0*(%d+)$', #lane + 1)
  return ms .. '-' .. n
end

local function owner_of(place, id)
  local pending = redis.call('XPENDING', place.stream, place.group, id, id, 1)[1]
  return pending and pending[2]
end

-- How many in a row that were trimmed away one call passes by.
local MOST_GONE = 1000

-- Take an entry that is settled, or gone, out of its lane, and free the next one if it is parked.
-- Returns how many were found trimmed away, and whether one is free.
local function leave_lane(place, id, lane)
  local trimmed = 0
  repeat
    redis.call('HDEL', place.lane_of, id)
    redis.call('ZREM', place.lanes, lane .. padded(id))
    id = first_of(place, lane)
    local owner = id and owner_of(place, id)
    if not id or owner and owner ~= PARKED then return trimmed, false end
    local is_there = owner and redis.call(
      'XCLAIM', place.stream, place.group, FREE, 0, id, 'JUSTID')[1]
    if owner and not is_there then trimmed = trimmed + 1 end
    -- At the bound one that is gone is due: who takes what is due goes on behind it.
  until is_there or trimmed >= MOST_GONE
  -- Without memory for its moment it is found without.
  redis.pcall('ZADD', place.moments, now(), id)
  return trimmed, true
end

local function leave_lanes(place, ids, first)
  local trimmed, is_free = 0, false
  if redis.call('EXISTS', place.lane_of) == 0 then return 0 end
  for i = first, #ids do
    local lane = redis.call('HGET', place.lane_of, ids[i])
    if lane then
      local gone, freed = leave_lane(place, ids[i], lane)
      trimmed, is_free = trimmed + gone, is_free or freed
    end
  end
  if is_free then wake(place.wakes) end
  return trimmed
end
