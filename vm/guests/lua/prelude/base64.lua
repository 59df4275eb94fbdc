-- `.base64`, as programs of aos require it.
local codec = require(".codec")
return { encode = codec.to_base64, decode = codec.from_base64 }
