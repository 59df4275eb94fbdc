-- `.pretty`: tables as text.
local stringify = require(".stringify")
return { tprint = function(value, indent) return stringify.format(value, indent) end }
