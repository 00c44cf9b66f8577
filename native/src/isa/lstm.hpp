// What the LSTM's forward and backward share: how saved activations lie, and one step of one vector of units. Equation
// numbers are those of lstm_scan in grunlock/kernels/reference.py.
#pragma once

#include "general_backward.hpp"
#include "grunlock_lstm.h"

namespace grunlock::GRUNLOCK_ISA {

using LstmCall = grunlock_lstm_call;
using CellState = grunlock_lstm_cell;

constexpr int kLstmGates = 4;
constexpr int kLstmInputOrder[] = {0, 1, 2, 3};  // gates as the slots of their gradients lie
constexpr int kLstmPanels = kLstmGates / kPanelVectors;  // gate panels for one vector of units

// A row of saved activations. Gradients of the gates' arguments replace the gates; the cell state stays.
enum LstmSlot : int64_t {
  kInputGate = 0,
  kForgetGate = 1,
  kCellCandidate = 2,
  kOutputGate = 3,
  kCellState = 4,
  kLstmSlots = 5,
};

// Zoneout of both states.
struct LstmZoneout {
  LstmZoneout(const LstmCall& call, int64_t direction, int64_t hidden_size)
      : hidden(call.layer.directions[direction], hidden_size), cell(call.cells[direction], hidden_size) {}

  struct Keys {
    uint32_t hidden, cell;
  };

  Keys keys(int64_t n) const {
    return {hidden.kind == GRUNLOCK_ZONEOUT_DRAWN ? hidden.row_key(n) : 0,
            cell.kind == GRUNLOCK_ZONEOUT_DRAWN ? cell.row_key(n) : 0};
  }

  // new + k * (old - new)
  static GRUNLOCK_INLINE Floats apply(const Zoneout& zoneout, int64_t n, uint32_t key, int64_t column, Floats value,
                                      Floats old) {
    return zoneout.kind == GRUNLOCK_ZONEOUT_OFF ? value : value + zoneout.keep(n, key, column) * (old - value);
  }

  Zoneout hidden;
  Zoneout cell;
};

struct LstmStates {
  Floats hidden, cell;
};

// Equations (2) to (5) for one vector of units, from the gates' arguments. saved: of this row and column, or nullptr.
GRUNLOCK_INLINE LstmStates lstm_step(const Floats* a, LstmStates previous, const LstmZoneout& zoneout, int64_t n,
                                     LstmZoneout::Keys keys, int64_t column, const Keeper& keeper, float* saved,
                                     int64_t slot_stride) {
  Floats gates[3] = {a[kInputGate], a[kForgetGate], a[kOutputGate]};
  Floats g = a[kCellCandidate];
  sigmoid<3>(gates);
  tanh<1>(&g);
  const Floats i = gates[0], f = gates[1], o = gates[2];
  const Floats c = LstmZoneout::apply(zoneout.cell, n, keys.cell, column, f * previous.cell + i * g, previous.cell);
  Floats tanh_c = c;
  tanh<1>(&tanh_c);
  const Floats h = LstmZoneout::apply(zoneout.hidden, n, keys.hidden, column, o * tanh_c, previous.hidden);
  if (saved != nullptr) {
    keeper.store(saved + kInputGate * slot_stride, i);
    keeper.store(saved + kForgetGate * slot_stride, f);
    keeper.store(saved + kCellCandidate * slot_stride, g);
    keeper.store(saved + kOutputGate * slot_stride, o);
    keeper.store(saved + kCellState * slot_stride, c);
  }
  return {h, c};
}

// The same backward. dh and dc: gradients of the states that the step gave. Gradients of the gates' arguments replace
// `saved`; what is returned goes straight to the states before, past the product.
GRUNLOCK_INLINE LstmStates lstm_step_back(Floats dh, Floats dc, Floats c_prev, const LstmZoneout& zoneout, int64_t n,
                                          LstmZoneout::Keys keys, int64_t column, float* saved, int64_t slot_stride) {
  const Floats i = load(saved + kInputGate * slot_stride);
  const Floats f = load(saved + kForgetGate * slot_stride);
  const Floats g = load(saved + kCellCandidate * slot_stride);
  const Floats o = load(saved + kOutputGate * slot_stride);
  Floats tanh_c = load(saved + kCellState * slot_stride);
  tanh<1>(&tanh_c);
  LstmStates kept = {splat(0.0f), splat(0.0f)};
  if (zoneout.hidden.kind != GRUNLOCK_ZONEOUT_OFF) {
    kept.hidden = zoneout.hidden.keep(n, keys.hidden, column) * dh;
    dh = dh - kept.hidden;
  }
  dc = dc + dh * o * (1.0f - tanh_c * tanh_c);  // (5)
  if (zoneout.cell.kind != GRUNLOCK_ZONEOUT_OFF) {
    kept.cell = zoneout.cell.keep(n, keys.cell, column) * dc;
    dc = dc - kept.cell;
  }
  store(saved + kInputGate * slot_stride, (dc * g) * (i * (1.0f - i)));
  store(saved + kForgetGate * slot_stride, (dc * c_prev) * (f * (1.0f - f)));
  store(saved + kCellCandidate * slot_stride, (dc * i) * (1.0f - g * g));
  store(saved + kOutputGate * slot_stride, (dh * tanh_c) * (o * (1.0f - o)));
  return {kept.hidden, dc * f + kept.cell};  // (4)
}

// The cell state before row (t, sequence), which the forward saved.
struct PreviousCell {
  const float* row;  // nullptr: zeros
  int64_t size;      // numbers in it

  PreviousCell(const LstmCall& call, const Shape& s, int64_t direction, int64_t t, int64_t sequence) {
    const int64_t before = direction == 1 ? t + 1 : t - 1;
    if (before >= 0 && sequence < s.active(before)) {
      const int64_t n = s.start(before) + sequence;
      row = call.layer.directions[direction].saved + (n * kLstmSlots + kCellState) * s.P;
      size = s.P;
    } else {
      const float* c0 = call.cells[direction].c0;
      row = c0 == nullptr ? nullptr : c0 + sequence * s.H;
      size = s.H;
    }
  }

  GRUNLOCK_INLINE Floats at(int64_t column) const { return load_state(row, column, size); }
};

// The state of one unit before the first step.
GRUNLOCK_INLINE Floats initial_state(const float* given, const Shape& s, int64_t sequence, int64_t column) {
  return load_state(given == nullptr ? nullptr : given + sequence * s.H, column, s.H);
}

}  // namespace grunlock::GRUNLOCK_ISA
