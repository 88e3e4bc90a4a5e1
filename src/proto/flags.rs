//! The flags of a container line (`b2c.run=`): one table, and what they ask for.
