package container

import (
	"fmt"

	"coffer/internal/isolation"
	"coffer/internal/isolation/kernel"
	"coffer/internal/isolation/process"
)

// makers make each wall.
var makers = map[isolation.Level]func() isolation.Wall{
	isolation.LevelProcess: process.New,
	isolation.LevelKernel:  kernel.New,
}

// DefaultWalls are the walls of this program.
func DefaultWalls(level isolation.Level) (isolation.Wall, error) {
	if makeWall := makers[level]; makeWall != nil {
		return makeWall(), nil
	}
	return nil, fmt.Errorf("isolation %q is not one of this program's, %v", level, isolation.Levels)
}
