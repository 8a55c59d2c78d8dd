-- End sessions of a bucket; the number of KEYS bounds the work. While the database is to be told, a
-- tombstone of each stays.
-- KEYS: live index, pending set, events, session hashes.
-- ARGV: 0 or the seconds that the tombstones stay, the KEY of the one session ('' for any), when that
--       was made, when it ended and when it was created, as EndOf has it, then the sid of each hash.
-- Reply: for each hash the tag of its user ('' if it has none or was not there); 1 if the database
--        never had it, 2 if it lacked an end, 3 if it has a newer KEY, else 0; and the seconds that it
--        would have lived.
local reply, gone, ttls, sids, counted = {}, {}, {}, {}, 0

-- Two ends of a session are an end for whoever either is one for: the newer KEY, the earlier time.
local function join(hash)
  local key, other = ARGV[2], redis.call('HGET', hash, '~k') or ''
  local made, ended, created = string.match(ARGV[3], '^(%d+) (%d+) (%d+)$')
  local text = redis.call('HGET', hash, '~e') or ''
  local made_too, ended_too, created_too = string.match(text, '^(%d+) (%d+) (%d+)$')
  if not made or not made_too or key == '' or other == '' then
    return '', ''
  end
  if tonumber(made_too) > tonumber(made) then
    key, made, created = other, made_too, created_too
  end
  return key, string.format('%s %.0f %s', made, math.min(ended, ended_too), created)
end

local keys, times = {}, {}
for i = 4, #KEYS do
  local user, code, ttl = '', 0, math.max(0, redis.call('TTL', KEYS[i]))
  local text = redis.pcall('HGET', KEYS[i], '~')
  if type(text) == 'table' and not string.find(text['err'], 'WRONGTYPE') then
    error(text['err'])
  end
  if text == 'x p' then
    code = 2
  elseif type(text) == 'string' then
    local twin = open(KEYS[i])
    local is_other = twin and ARGV[2] ~= '' and twin.key ~= ARGV[2]
    if is_other and stamp_of_key(twin.key) >= stamp_of_key(ARGV[2]) then
      code = 3
    elseif twin then
      -- Under an older KEY it was not told of the rotation.
      user = twin.user
      counted = counted + 1
      code = twin.base == 0 and 1 or 0
    end
  end
  if code < 3 then
    if ARGV[1] ~= '0' or code < 2 then
      local n = #gone + 1
      gone[n], ttls[n], keys[n], times[n] = KEYS[i], ttl, ARGV[2], ARGV[3]
      if code == 2 then
        keys[n], times[n] = join(KEYS[i])
      end
    end
    sids[#sids + 1] = ARGV[i]
  end
  for _, word in ipairs({user, code, ttl}) do
    reply[#reply + 1] = word
  end
end
if #sids == 0 then
  return reply
end
if #gone > 0 then
  redis.call('UNLINK', unpack(gone))
end
if ARGV[1] ~= '0' then
  for i = 1, #gone do
    redis.call('HSET', gone[i], '~', 'x p', '~k', keys[i], '~e', times[i])
    -- As long as any copy of it could live.
    redis.call('EXPIRE', gone[i], math.max(ARGV[1], ttls[i]))
  end
  for i = 1, #sids do
    await(KEYS[2], sids[i])
  end
end
leave(KEYS[1], unpack(sids))
tally(KEYS[3], 'e', counted)
return reply
