-- Delete a consumer that owns nothing, and say how much it owns: it is one step.
local page = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2])
if #page > 0 then return 1 end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
redis.pcall('XGROUP', 'DELCONSUMER', KEYS[3], ARGV[1], ARGV[2])
return 0
