-- Return the stamp of the rotation that a KEY is of: its first eight characters, in base64.
local DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

local function stamp_of_key(key)
  local stamp = 0
  for i = 1, 8 do
    stamp = 64 * stamp + (string.find(DIGITS, string.sub(key, i, i), 1, true) or 1) - 1
  end
  return stamp
end
