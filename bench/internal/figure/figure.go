// Package figure writes plots into SVG files, beside each other and of one style.
// It imports gonum's plot. Start at New and Write.
package figure

import (
	"errors"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// New is an empty plot with a title, from zero up, its legend above.
func New(title, x string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text = title, x
	p.Title.TextStyle.Font.Size, p.X.Label.TextStyle.Font.Size = 9, 9
	p.Legend.TextStyle.Font.Size, p.Legend.YOffs = 8, -vg.Millimeter*4
	p.Legend.Top, p.Legend.Left, p.Legend.ThumbnailWidth, p.Legend.XOffs = true, true, 3*vg.Millimeter, vg.Millimeter
	p.X.Tick.Label.Font.Size, p.Y.Tick.Label.Font.Size = 8, 8
	return p
}

// FromZero has the vertical axis begin at zero, and leaves room above for the
// legend; after everything is added.
func FromZero(p *plot.Plot, room float64) { p.Y.Min, p.Y.Max = 0, p.Y.Max*room }

// Write writes plots into a file, in one row.
func Write(path string, row []*plot.Plot) error {
	const width, height = 24 * vg.Centimeter, 6 * vg.Centimeter
	canvas := vgsvg.New(width, height)
	tiles := draw.Tiles{Rows: 1, Cols: len(row), PadX: vg.Millimeter * 4}
	for i, c := range plot.Align([][]*plot.Plot{row}, tiles, draw.New(canvas))[0] {
		row[i].Draw(c)
	}
	f, err := os.Create(path) //nolint:gosec // where the user says
	if err != nil {
		return err
	}
	_, err = canvas.WriteTo(f)
	return errors.Join(err, f.Close())
}
