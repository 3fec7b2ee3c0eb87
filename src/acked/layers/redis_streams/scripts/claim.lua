-- Take what is due or whose lease has ended, of several streams.
-- uses: now wake lanes admit hold_back take notes
-- KEYS are those of each stream, in turn. ARGV[3] is the lease of owners whose names tell none,
-- ARGV[4] the time between two scans, ARGV[5] after what silence a consumer that owns nothing is
-- forgotten, all in milliseconds; ARGV[6] how many entries to take at most, in all; ARGV[6 + n] is 1
-- if a wake-up of stream n led here. Returns for each stream that was looked at, the first ones:
-- {id, count, fields} of what was taken, how many were trimmed away, in how many milliseconds the
-- next one is due (-1: none is known), and whether there is more now.
-- Nothing of the caller's own is taken: he holds it, or will find it among what he does not know.
local FORGET_AT_ONCE, SCANNED_FOR, PAGE = 200, 60000, 1000
-- How many entries a scan passes by, before the server may do something else for so many
-- milliseconds: one that it shows us costs as much as seven that it passes by itself.
local walk, SHOWN, PAUSE = 28000, 7, 50
local room, time, replies = tonumber(ARGV[6]), now(), {}
local in_order = heeds_order(ARGV[2])

-- Take an entry, unless we heed order and it is not the first of its lane: then it is parked.
local function take_or_park(found, place, id, count)
  local lane = in_order and redis.call('HGET', place.lane_of, id)
  if lane and not is_first(place, id, lane) then
    park(place, id, count)
  else
    take(found, place, id, next_count(count))
  end
end

-- Take what is due; say whether there may be more.
local function take_due(found, place, first)
  if not first[2] or tonumber(first[2]) > time then return 0 end
  local due = redis.call('ZRANGEBYSCORE', place.moments, '-inf', time, 'LIMIT', 0, room)
  redis.call('ZREM', place.moments, unpack(due))
  for _, id in ipairs(due) do
    local pending = redis.call('XPENDING', place.stream, ARGV[1], id, id, 1)[1]
    if not pending then
      found.trimmed = found.trimmed + leave_lanes(place, {id}, 1)
    elseif pending[2] ~= ARGV[2] then
      take_or_park(found, place, id, pending[4])
    end
  end
  return #due == room and 1 or 0
end

-- Take what one consumer holds beyond its own lease, which its name tells. Returns where to go on
-- the next time, if this was not all.
local function take_expired(found, place, owner, start)
  local lease, idle = tonumber(string.match(owner.name, '~(%d+)$') or ARGV[3]), 0
  if owner.pending <= walk then
    idle, walk = lease, walk - owner.pending
  end
  repeat
    local page = redis.call(
      'XPENDING', place.stream, ARGV[1], 'IDLE', idle, start, '+', PAGE, owner.name)
    walk = walk - SHOWN * #page
    for _, entry in ipairs(page) do
      if #found.entries >= room then return start end
      start = '(' .. entry[1]
      local ends = entry[3] >= lease and redis.call('ZSCORE', place.moments, entry[1])
      if entry[3] >= lease and (not ends or tonumber(ends) <= time) then
        take_or_park(found, place, entry[1], entry[4])
        if ends then redis.call('ZREM', place.moments, entry[1]) end
      end
    end
    if #page < PAGE then return nil end
  until walk <= 0
  return start
end

-- Take what was given back and has no moment: there was no memory for it, or somebody deleted it.
-- Returns what `take_expired` does.
local function take_stray(found, place, start)
  repeat
    local page = redis.call('XPENDING', place.stream, ARGV[1], start, '+', PAGE, FREE)
    walk = walk - SHOWN * #page
    for _, entry in ipairs(page) do
      if #found.entries >= room then return start end
      start = '(' .. entry[1]
      if not redis.call('ZSCORE', place.moments, entry[1]) then
        take_or_park(found, place, entry[1], entry[4])
      end
    end
    if #page < PAGE then return nil end
  until walk <= 0
  return start
end

-- Look through the consumers, in the order of their names. The cursor is the one to go on with, and
-- where among what it holds; empty at the end of all.
local function scan(found, place, cursor)
  local forgotten = 0
  local start, name = string.match(cursor, '^(%S+) (.*)$')
  for _, row in ipairs(redis.call('XINFO', 'CONSUMERS', place.stream, ARGV[1])) do
    local owner, rest = {}, nil
    for i = 1, #row, 2 do owner[row[i]] = row[i + 1] end
    if owner.name == name then name = nil end
    if name or owner.name == PARKED then -- it comes later, or by who is before it
    elseif walk <= 0 then return '- ' .. owner.name
    elseif owner.name == FREE then
      if redis.call('ZCARD', place.moments) < owner.pending then
        rest = take_stray(found, place, start or '-')
      end
    elseif owner.pending > 0 then
      if owner.name ~= ARGV[2] then
        rest = take_expired(found, place, owner, start or '-')
      end
    elseif owner.idle > tonumber(ARGV[5]) and forgotten < FORGET_AT_ONCE then
      forgotten = forgotten + 1
      redis.call('XGROUP', 'DELCONSUMER', place.stream, ARGV[1], owner.name)
      redis.pcall('XGROUP', 'DELCONSUMER', place.wakes, ARGV[1], owner.name)
    end
    if rest then return rest .. ' ' .. owner.name end
    if not name then start = nil end
  end
  return ''
end

local function look(place, woken)
  local found = {entries = {}, trimmed = 0}
  if woken == '1' then
    local read = redis.call('XPENDING', place.wakes, ARGV[1], '-', '+', 100, ARGV[2])
    for _, entry in ipairs(read) do redis.call('XACK', place.wakes, ARGV[1], entry[1]) end
  end
  if in_order and not admit(place) then return {{}, 0, 0, 1} end
  local more = take_due(found, place, redis.call('ZRANGE', place.moments, 0, 0, 'WITHSCORES'))
  local at, cursor = string.match(redis.call('GET', place.scanned) or '', '^(%d+) (.*)$')
  local next = -1
  if #found.entries < room and tonumber(at or 0) <= time then
    cursor = scan(found, place, cursor or '')
    at = time + ARGV[4]
    if cursor ~= '' then at, next = time + PAUSE, PAUSE end
    if #found.entries >= room then at, more = 0, 1 end
    -- Without memory for the note everybody scans whenever he looks.
    redis.pcall('SET', place.scanned, at .. ' ' .. cursor, 'PX', SCANNED_FOR)
  end
  if more == 1 then wake(place.wakes) end
  local first = redis.call('ZRANGE', place.moments, 0, 0, 'WITHSCORES')
  local due = first[2] and math.max(0, tonumber(first[2]) - time)
  if due and (next < 0 or due < next) then next = due end
  room = room - #found.entries
  return {found.entries, found.trimmed, next, more}
end

for i = 1, #KEYS / 6 do
  if room <= 0 then break end
  replies[i] = look(place_at(6 * i - 5, 6 * i - 4, ARGV[1]), ARGV[6 + i])
end
return replies
