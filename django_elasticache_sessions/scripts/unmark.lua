-- Take away the marks of sessions of a bucket of which the database was told; the number of KEYS
-- bounds the work. What was ended once more since has no token any more, and is left.
-- KEYS: pending set, session hashes.  ARGV: the marks' token, the length of a sid.
-- Reply: how many marks went.
local gone, sids = {}, {}
for i = 2, #KEYS do
  if redis.pcall('HGET', KEYS[i], '~t') == ARGV[1] then
    gone[#gone + 1] = KEYS[i]
    sids[#sids + 1] = string.sub(KEYS[i], -ARGV[2])
  end
end
if #gone > 0 then
  redis.call('UNLINK', unpack(gone))
  redis.call('SREM', KEYS[1], unpack(sids))
end
return #gone
