-- The set of sessions of a bucket that wait for the database. It is a hint: a foreign value in its
-- place must not cost a session.
local function await(set, sid)
  local reply = redis.pcall('SADD', set, sid)
  if type(reply) == 'table' and reply['err'] then
    if not string.find(reply['err'], 'WRONGTYPE') then
      error(reply['err'])
    end
    redis.call('UNLINK', set)
    redis.call('SADD', set, sid)
  end
end

-- Tells whether any of them did.
local function await_no_more(set, ...)
  local reply = redis.pcall('SREM', set, ...)
  if type(reply) == 'table' and reply['err'] and not string.find(reply['err'], 'WRONGTYPE') then
    error(reply['err'])
  end
  return type(reply) == 'number' and reply > 0
end

local function number_waiting(set)
  local reply = redis.pcall('SCARD', set)
  return type(reply) == 'number' and reply or 0
end
