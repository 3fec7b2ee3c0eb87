-- Take what is due or whose lease has ended.
-- uses: now wake take
-- ARGV[3] the lease and ARGV[4] the time between two looks for ended ones, in milliseconds;
-- ARGV[5] how many to take at most; ARGV[6...] the wake-ups that led here.
-- Returns {id, count, fields} for each, how many were trimmed away, in how many milliseconds
-- the next one is due (-1: none is known), and whether there is more now.
local limit, time, more = tonumber(ARGV[5]), now(), 0
if ARGV[6] then redis.pcall('XACK', KEYS[3], ARGV[1], unpack(ARGV, 6)) end

local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', time, 'LIMIT', 0, limit)
for _, id in ipairs(due) do
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1)[1]
  if pending then take(id, pending[4] + 1) end
end
if #due > 0 then redis.call('ZREM', KEYS[2], unpack(due)) end
if #due == limit then more = 1 end

-- What one consumer holds beyond its lease. Owners are asked one by one: FREE may own very
-- much, all of it in the sorted set, unless somebody has deleted that.
local function expired(owner)
  local start, page = '-', nil
  repeat
    page = redis.call('XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[3], start, '+', 100, owner)
    for _, entry in ipairs(page) do
      if #taken >= limit then return end
      start = '(' .. entry[1]
      local ends = redis.call('ZSCORE', KEYS[2], entry[1])
      if not ends or tonumber(ends) <= time then
        take(entry[1], entry[4] + 1)
        if ends then redis.call('ZREM', KEYS[2], entry[1]) end
      end
    end
  until #page < 100
end

local function scan()
  local a_day = 86400000
  for _, row in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
    local owner = {}
    for i = 1, #row, 2 do owner[row[i]] = row[i + 1] end
    if owner.name == FREE then
      if redis.call('ZCARD', KEYS[2]) < owner.pending then expired(owner.name) end
    elseif owner.pending > 0 then
      expired(owner.name)
    elseif owner.idle > a_day then
      redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], owner.name)
      redis.pcall('XGROUP', 'DELCONSUMER', KEYS[3], ARGV[1], owner.name)
    end
  end
end

-- False: somebody else has scanned. An error: no memory for the key, so scan all the same.
if #taken < limit and redis.pcall('SET', KEYS[4], '1', 'PX', ARGV[4], 'NX') then
  scan()
  if #taken >= limit then
    redis.call('DEL', KEYS[4])
    more = 1
  end
end
if more == 1 then wake() end

local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
local next = -1
if first[2] then next = math.max(0, tonumber(first[2]) - time) end
return {taken, trimmed, next, more}
